"""Two controllers over one etcd, the leading one freezes: cells find the next, and it harms nothing when it wakes.

Its kernel goes on acknowledging what cells send, so nothing but their own pings tells them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.controller import Controller
from tests.support.ec2_controller import CREDENTIALS, running_on_ec2
from tests.support.etcd import running_etcd
from tests.support.manifests import COUNT, pod
from tests.support.registry import free_port

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"),
    pytest.mark.timeout(900),
    pytest.mark.waits,
]

# An address of this machine that is not of its place in the local network.
SECOND = "10.199.0.9"
FLEET = "lease = 60\nheartbeat = 1\n"


def next_to(leader: Controller, folder: Path) -> Controller:
    """Another controller of the same cluster, with the same authority; to be started."""
    (folder / "state").mkdir(parents=True)
    shutil.copytree(leader.folder / "state/link", folder / "state/link")
    gateway = next(line for line in _settings(leader) if line.startswith("host = ")).split('"')[1]
    lines = [
        f'state = "{folder}/state"'
        if line.startswith("state = ")
        else f'host = "{SECOND}"\naddresses = ["{SECOND}", "{gateway}"]'
        if line == f'host = "{gateway}"'
        else line
        for line in _settings(leader)
        if not line.startswith("addresses")
    ]
    api = lines.index("[api]") + 1
    lines[api] = f"port = {free_port()}"
    (folder / "controller.toml").write_text("\n".join(lines) + "\n")
    return Controller(folder, leader.cloud, environment=CREDENTIALS)


def _settings(controller: Controller) -> list[str]:
    return (controller.folder / "controller.toml").read_text().splitlines()


async def test_cells_leave_a_frozen_leader_for_the_next_and_it_harms_nothing_when_it_wakes(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    subprocess.run(["ip", "address", "replace", f"{SECOND}/32", "dev", "lo"], check=True)
    with running_etcd(tmp_path / "etcd") as member:
        store = f'[store]\nkind = "etcd"\nendpoints = ["{member.endpoint}"]\nlease = 4.0\n'
        async with running_on_ec2(tmp_path, fleet=FLEET, store=store, also=(SECOND,)) as world:
            first = world.controller
            for name in ("a", "b"):
                await first.kubectl("apply", "-f", "-", stdin=pod(name, COUNT))
            await first.kubectl("wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=90s", seconds=100)
            before = {cell["name"]: cell["instance"] for cell in await first.cells()}
            second = next_to(first, tmp_path / "second")
            await second.spawn()
            assert first.process is not None
            frozen = first.process
            try:
                frozen.send_signal(signal.SIGSTOP)
                await second.answering()
                await second.until(
                    lambda cells: (
                        {cell["name"]: cell["instance"] for cell in cells if cell["connected"]} == before
                        and all(cell["state"] == "claimed" for cell in cells)
                    ),
                    seconds=90,
                )
                # One is started by the new leader while the old one sleeps: a stranger to that one.
                await second.kubectl("apply", "-f", "-", stdin=pod("c"))
                await second.kubectl("wait", "--for=condition=Ready", "pod/c", "--timeout=90s", seconds=100)
                after = {cell["name"]: cell["instance"] for cell in await second.cells()}

                frozen.send_signal(signal.SIGCONT)
                async with asyncio.timeout(60):
                    assert await frozen.wait() != 0
                assert "LeadLost" in first.words() or "lead" in first.words(), first.words()
                for name in ("a", "b"):
                    shown = await second.kubectl("get", "pod", name)
                    assert "1/1" in shown, shown
                    assert " 0 " in shown, "it was not started again"
                    lines = (await second.kubectl("logs", name)).splitlines()
                    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]
                assert {cell["name"]: cell["instance"] for cell in await second.cells()} == after
                assert sorted(world.running()) == sorted(after.values())
                assert len(world.launches()) == len(after)
                assert "there" in await second.kubectl("exec", "c", "--", "echo", "there")
            finally:
                frozen.send_signal(signal.SIGCONT) if frozen.returncode is None else None
                await second.kill(signal.SIGTERM)
