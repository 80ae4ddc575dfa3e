"""Warm cells that hold images before a pod comes, as the settings ask for it and `chinampa status` tells it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.controller import ENVIRONMENT, RUN, Controller, running_controller
from tests.support.manifests import pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(240)]
STANDBY = (
    '[[standby]]\nname = "web"\ncount = 1\ncpu = "100m"\nmemory = "32Mi"\n'
    'images = ["registry.demo/web:1", "registry.demo/none:1"]\n'
)


async def status(controller: Controller) -> str:
    """What `chinampa status` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, "status", "--config", str(controller.folder / "controller.toml"),
        stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode()


async def told(controller: Controller, *lines: str) -> None:
    """Wait until the status has these words."""
    said = ""
    for _ in range(150):
        said = await status(controller)
        if all(line in said for line in lines):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"{said}\n{controller.words()}")


async def test_a_warm_cell_holds_its_images_and_the_pod_that_takes_it_finds_them_there(tmp_path: Path) -> None:
    async with running_controller(tmp_path, STANDBY) as controller:
        await told(
            controller,
            "registry.demo/web:1: on 1 of 1\n",
            "registry.demo/none:1: on 0 of 1; not on one, for ",
        )
        layers = tmp_path / "registry/docker/registry/v2/blobs"
        for path in sorted(layers.rglob("data")):
            if path.stat().st_size > 100_000:  # the layer: whoever still needs it fails from now on
                path.unlink()
        await controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", seconds=70)


async def test_what_the_latest_pods_had_is_on_the_next_warm_cell_before_a_pod_comes(tmp_path: Path) -> None:
    standby = '[[standby]]\nname = "web"\ncount = 1\ncpu = "100m"\nmemory = "32Mi"\n'
    async with running_controller(tmp_path, standby) as controller:
        for name in ("one", "two"):
            await controller.kubectl("apply", "-f", "-", stdin=pod(name))
            await controller.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s", seconds=70)
        await told(controller, "registry.demo/web:1: on 1 of 1\n")
        layers = tmp_path / "registry/docker/registry/v2/blobs"
        for path in sorted(layers.rglob("data")):
            if path.stat().st_size > 100_000:
                path.unlink()
        await controller.kubectl("apply", "-f", "-", stdin=pod("three"))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/three", "--timeout=60s", seconds=70)
