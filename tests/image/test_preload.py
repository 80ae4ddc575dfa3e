"""A disk that is baked with a container image inside: a pod of it runs though no registry gives its layers any more.

Minutes long, so it is asked for by name (`make test-image`): PRELOADED_DISK names what tests/image/preloaded.py baked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.image.preloaded import REFERENCE
from tests.image.test_boot import PATIENT, booted, inside
from tests.support.ec2_controller import running_on_ec2
from tests.support.qemu_machines import Hardware, lacking

DISK = Path(os.environ.get("PRELOADED_DISK", ""))
NOT_HERE = "PRELOADED_DISK names no disk: run `make test-image`" if not DISK.is_file() else lacking()
pytestmark = [
    pytest.mark.skipif(bool(NOT_HERE), reason=f"NOT RUN: {NOT_HERE}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(3000),
]


async def test_a_container_of_an_image_that_is_inside_starts_though_the_registry_lost_its_layers(
    tmp_path: Path,
) -> None:
    assert json.loads(DISK.with_suffix(".manifest.json").read_text())["preloaded"] == [REFERENCE]
    async with running_on_ec2(tmp_path, real=1, fleet=PATIENT, hardware=Hardware(DISK)) as world:
        lost = [path for path in (tmp_path / "registry").rglob("data") if path.stat().st_size > 100_000]
        assert lost, "the registry has the layer until now"
        for path in lost:
            path.unlink()
        await booted(world)
        assert "there" in await inside(world, "echo", "there")
