"""The clouds that the contract holds for. A new cloud adds its opener to `OPENERS`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from controller.clouds.local.cloud import running
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import sweep
from controller.clouds.protocol import Cloud
from tests.support.ec2_cloud import stage
from tests.support.fake_cloud import FakeCloud


class Opened(NamedTuple):
    """A cloud under test. `refuse(type, code)` makes it refuse launches of that type."""

    cloud: Cloud
    refuse: Callable[[str, str], None]


Opener = Callable[[Path], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def local(folder: Path) -> AsyncGenerator[Opened]:
    if os.geteuid():
        pytest.skip("NOT RUN: the local cloud makes namespaces, which needs root")
    number = os.getpid() % 200
    refusals: dict[str, str] = {}
    settings = LocalSettings(
        cluster=f"contract-{os.getpid()}",
        root=folder / "local",
        bridge=f"ct{os.getpid()}",
        subnet=f"10.6.{number}.0/24",
        refusals=refusals,
    )
    try:
        async with running(settings) as cloud:
            yield Opened(cloud, refusals.__setitem__)
    finally:
        await sweep(settings)


@asynccontextmanager
async def fake(folder: Path) -> AsyncGenerator[Opened]:
    cloud = FakeCloud()
    yield Opened(cloud, cloud.refusals.__setitem__)


@asynccontextmanager
async def ec2(folder: Path) -> AsyncGenerator[Opened]:
    async with stage(folder) as on:
        yield Opened(on.cloud, lambda type_, code: on.front.rules.limit(type_, code=code))


OPENERS: dict[str, Opener] = {"local": local, "fake": fake, "ec2": ec2}


@pytest.fixture(params=sorted(OPENERS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Opened]]:
    opener = OPENERS[request.param]
    return lambda: opener(tmp_path)
