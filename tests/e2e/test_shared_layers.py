"""Cells of the local cloud share the layers of images, and neither the right to them nor a way to change them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.controller import Controller, running_controller
from tests.support.manifests import pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(240)]


async def runs(controller: Controller, name: str) -> None:
    await controller.kubectl("apply", "-f", "-", stdin=pod(name))
    await controller.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s", seconds=70)


async def shared(folder: Path) -> Path:
    """The one layer, once it is shared."""
    async with asyncio.timeout(60):
        while not (found := [one for one in folder.glob("cloud/shared/*/layers/*") if one.is_dir()]):
            await asyncio.sleep(0.1)
    (layer,) = found
    return layer


def agents() -> list[int]:
    """The agents of this machine's cells that run."""
    found: list[int] = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and b"cellagent\0run" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


async def test_a_layer_that_one_cell_pulled_is_there_for_the_next_which_still_asks_the_registry(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await runs(controller, "first")
        layer = await shared(tmp_path)
        blobs = tmp_path / "registry/docker/registry/v2"
        for path in (blobs / "blobs").rglob("data"):
            if path.stat().st_size > 100_000:  # the layer: whoever still needs it fails from now on
                path.unlink()
        await runs(controller, "second")
        status, _, _ = await controller.kubectl_raw("exec", "second", "--", "sh", "-c", "echo changed >/bin/start")
        assert status == 0
        assert b"changed" not in (layer / "bin/start").read_bytes()

        for tag in (blobs / "repositories/web/_manifests/tags").rglob("link"):
            tag.unlink()
        await controller.kubectl("apply", "-f", "-", stdin=pod("third"))
        async with asyncio.timeout(60):
            while "ErrImagePull" not in await controller.kubectl("get", "pod", "third", "-o", "yaml"):
                await asyncio.sleep(0.2)


async def test_nothing_of_a_cell_writes_where_layers_are_shared(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await runs(controller, "first")
        layer = await shared(tmp_path)
        await runs(controller, "second")
        inside = f"/var/lib/chinampa/shared/{layer.name}"
        seen = 0
        for agent in agents():
            process = await asyncio.create_subprocess_exec(
                "nsenter", "-t", str(agent), "-m", "--", "sh", "-c", f"[ -d {inside} ] || exit 9; touch {inside}/x",
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, words = await process.communicate()
            if process.returncode == 9 or b"/proc/" in words:  # of another test's, which may have ended
                continue
            seen += 1
            assert b"Read-only file system" in words
        assert seen >= 2
