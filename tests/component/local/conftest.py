"""Real local clouds, each with a name, folder, bridge and subnet of its own, swept and counted at the end."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import Leftovers, leftovers, sweep

_NUMBERS = itertools.count()
Playground = Callable[..., AbstractAsyncContextManager[LocalSettings]]


@pytest.fixture
def playground(tmp_path: Path) -> Playground:
    """Settings of a cloud that nobody else has; everything of it is gone afterwards."""
    if os.geteuid():
        pytest.skip("NOT RUN: the local cloud makes namespaces, which needs root")

    @asynccontextmanager
    async def made(**changes: object) -> AsyncGenerator[LocalSettings]:
        number = next(_NUMBERS)
        values: dict[str, object] = {
            "cluster": f"test-{os.getpid()}-{number}",
            "root": tmp_path / "local",
            "bridge": f"lc{os.getpid()}x{number}",
            "subnet": f"10.6.{os.getpid() % 250}.0/24",
            **changes,
        }
        settings = LocalSettings(**values)  # pyright: ignore[reportArgumentType] - the tests name fields that exist
        try:
            yield settings
        finally:
            await sweep(settings)
            assert await leftovers(settings) == Leftovers()

    return made
