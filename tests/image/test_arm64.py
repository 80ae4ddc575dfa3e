"""A disk for arm64, baked on any machine and booted by QEMU in software: it joins, and a pod of an arm64 image runs.

Asked for by name: CELL_DISK_ARM64 names the disk, BUSYBOX_ARM64 a busybox for the pod's image (`make test-image` has
both where QEMU for arm64 and its firmware are installed).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from examples import image
from tests.image.test_boot import INSPECTOR, PATIENT, booted, inside, joined_after
from tests.support import qemu_machines
from tests.support.ec2_controller import running_on_ec2
from tests.support.qemu_machines import Hardware

DISK, BUSYBOX = (Path(os.environ.get(name, "")) for name in ("CELL_DISK_ARM64", "BUSYBOX_ARM64"))
LACKING = (
    "CELL_DISK_ARM64 and BUSYBOX_ARM64 name no files: run `make test-image`"
    if not (DISK.is_file() and BUSYBOX.is_file())
    else "no qemu-system-aarch64: install qemu-system-arm and qemu-efi-aarch64"
    if not (shutil.which("qemu-system-aarch64") and qemu_machines.FIRMWARE_ARM64.exists())
    else qemu_machines.lacking()
)
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"NOT RUN: {LACKING}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(2400),
]


async def test_a_disk_for_arm64_boots_joins_and_runs_a_pod(tmp_path: Path) -> None:
    hardware = Hardware(DISK, architecture="arm64")
    async with running_on_ec2(tmp_path, real=1, fleet=PATIENT, hardware=hardware) as world:
        mirror = re.search(r'mirrors = \["([^"]+)"', (tmp_path / "controller.toml").read_text())
        assert mirror
        await asyncio.to_thread(image.push, mirror[1], "arm", "1", BUSYBOX, architecture="arm64")
        await booted(world, pod=INSPECTOR.replace("web:1", "arm:1"))
        print(f"\narm64: kernel start to joined {await joined_after(world):.1f} s")
        assert await inside(world, "busybox", "uname", "-m") == "aarch64\n"
        assert "line 1\nline 2\n" in await world.controller.kubectl("logs", "web")
