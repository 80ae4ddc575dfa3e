"""The user-data of stock images on disks like those of Debian, booted by QEMU in software: cloud-init runs it, it
fetches the agent's bundle from the controller, and a pod runs.

Minutes long, so it is asked for by name (`make test-image`): AGENT_BUNDLE names the archive, STOCK the distributions
("debian-13,debian-12"; Debian 13 alone where it says nothing). Debian's and Ubuntu's own images are not downloaded.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.image.test_boot import PATIENT, booted, inside, joined_after
from tests.support import qemu_machines, stock_disks
from tests.support.ec2_controller import running_on_ec2
from tests.support.qemu_machines import Hardware

BUNDLE = Path(os.environ.get("AGENT_BUNDLE", ""))
# cloud-init alone takes as long as a cell's own image takes to run a pod.
SECONDS = 2400
NOT_HERE = (
    "AGENT_BUNDLE names no archive: run `make test-image`"
    if not BUNDLE.is_file()
    else qemu_machines.lacking() or stock_disks.lacking()
)
pytestmark = [
    pytest.mark.skipif(bool(NOT_HERE), reason=f"NOT RUN: {NOT_HERE}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(3000),
]


@pytest.mark.parametrize("name", [*stock_disks.SUITES, "ubuntu-24.04"])
async def test_a_stock_image_fetches_its_agent_joins_and_runs_a_pod(tmp_path: Path, name: str) -> None:
    if name not in stock_disks.SUITES:
        pytest.skip(f"NOT RUN: {name}: its packages are not to be had here")
    if name not in stock_disks.chosen():
        pytest.skip(f"NOT RUN: {name}: name it in STOCK")
    disk = stock_disks.made(name, stock_disks.FOLDER)
    hardware = Hardware(disk.disk, memory_mib=1024, kernel=disk.kernel, first_stage=disk.first_stage)
    link = f'agent_amd64 = "{BUNDLE.resolve()}"\n'
    async with running_on_ec2(
        tmp_path, real=1, fleet=PATIENT.replace("boot = 1800", f"boot = {SECONDS}"), hardware=hardware, link=link
    ) as world:
        began = time.monotonic()
        await booted(world, seconds=SECONDS)
        ready = time.monotonic() - began
        print(f"\n{name}: kernel start to joined {await joined_after(world):.1f} s, pod ready {ready:.1f} s after")
        assert "line 1\nline 2\n" in await world.controller.kubectl("logs", "web")
        status, _, _ = await world.controller.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
        assert status == 7
        # Processes have ended meanwhile, of which ls complains.
        programs = await inside(world, "sh", "-c", "busybox ls -l /proc/[0-9]*/exe 2>/dev/null; true")
        assert "/opt/chinampa/libexec/conmon" in programs, programs
