"""A disk that is baked with a container image inside: a pod of it runs though no registry gives its layers any more.

Minutes long, so it is asked for by name (`make test-image`), after which the trees that a bake begins with are there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples import image
from images import tree
from tests.image.test_boot import NOT_HERE, PATIENT, booted, inside
from tests.support.ec2_controller import running_on_ec2
from tests.support.qemu_machines import Hardware
from tests.support.registry import running_registry

pytestmark = [
    pytest.mark.skipif(bool(NOT_HERE), reason=f"NOT RUN: {NOT_HERE}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(3000),
]


async def baked(folder: Path) -> Path:
    """A disk with registry.demo/web:1 inside."""
    async with running_registry() as registry:
        await asyncio.to_thread(image.push, f"http://{registry}", "web", "1")
        argv = [
            sys.executable, "-m", "images", "bake", f"--out={folder / 'preloaded.raw'}",
            "--preload=registry.demo/web:1", f"--mirror=registry.demo=http://{registry}",
        ]  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, argv, cwd=tree.HERE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((folder / "preloaded.manifest.json").read_text())["preloaded"] == ["registry.demo/web:1"]
    return folder / "preloaded.raw"


async def test_a_container_of_an_image_that_is_inside_starts_though_the_registry_lost_its_layers(
    tmp_path: Path,
) -> None:
    disk = await baked(tmp_path)
    async with running_on_ec2(tmp_path, real=1, fleet=PATIENT, hardware=Hardware(disk)) as world:
        lost = [path for path in (tmp_path / "registry").rglob("data") if path.stat().st_size > 100_000]
        assert lost, "the registry has the layer until now"
        for path in lost:
            path.unlink()
        await booted(world)
        assert "there" in await inside(world, "echo", "there")
