"""Two workers with shims of their own, two controllers over three members of etcd: leaders and shims are killed and
frozen, no pod is lost, no byte of a log is missing or doubled; and how long each pause was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from tests.e2e.test_frozen_leader import SECOND, next_to
from tests.support.controller import Controller
from tests.support.ec2_controller import running_on_ec2
from tests.support.etcd import running_etcds
from tests.support.waiting import until_found
from tests.support.worker import COUNT, WorkerProcess, link_of, running_worker

pytestmark = [
    pytest.mark.skipif("HA" not in os.environ, reason="NOT RUN: leases need the machine alone; make test-ha has it so"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: instances need root"),
    pytest.mark.timeout(3000),
]

FLEET = "lease = 90\nheartbeat = 1\n"
LEASE = 15.0


class Pods:
    """The pods that run, each on a worker: uid, sandbox, container."""

    def __init__(self) -> None:
        self.all: dict[str, tuple[WorkerProcess, str, str]] = {}

    async def new(self, worker: WorkerProcess, uid: str) -> float:
        """One more, which may have to wait for a leader; after how many seconds it ran."""
        begun = time.monotonic()
        made = await until_found(lambda: worker.pod_in_time(*COUNT, uid=uid), seconds=600)
        assert made is not None
        self.all[uid] = worker, *made
        return time.monotonic() - begun

    async def go_on(self) -> None:
        """Each is what it was, answers, and its log is whole."""
        for uid, (worker, sandbox, container) in self.all.items():
            assert (await worker.shim.sandbox_status(sandbox)).state == cri.SANDBOX_READY
            assert (await worker.shim.status(container)).state == cri.CONTAINER_RUNNING
            assert await until_found(lambda w=worker, c=container: w.said_again(c)) == "again\n"
            await worker.counts_on(uid)

    async def answer_during(self, work: Callable[[], Awaitable[float]]) -> tuple[float, float]:
        """What the work gives, and the longest time from one answered exec in each pod to the next meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(_result(work))
            longest = [tasks.create_task(_longest_pause(*each, working)) for each in self.all.values()]
        return working.result(), max(one.result() for one in longest)


async def _result(work: Callable[[], Awaitable[float]]) -> float:
    return await work()


async def _longest_pause(worker: WorkerProcess, sandbox: str, container: str, until: asyncio.Task[float]) -> float:
    del sandbox
    longest, last = 0.0, time.monotonic()
    while not until.done():
        if await worker.said_again(container):
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await asyncio.sleep(0.1)
    return longest


async def test_no_pod_notices_more_than_a_pause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["ip", "address", "replace", f"{SECOND}/32", "dev", "lo"], check=True)
    told: list[str] = []
    async with AsyncExitStack() as stack:
        (tmp_path / "first").mkdir()
        members = stack.enter_context(running_etcds(tmp_path / "etcd", ("one", "two", "three")))
        endpoints = ", ".join(f'"{member.endpoint}"' for member in members)
        store = f'[store]\nkind = "etcd"\nendpoints = [{endpoints}]\nlease = {LEASE}\n'
        world = await stack.enter_async_context(
            running_on_ec2(tmp_path / "first", fleet=FLEET, store=store, also=(SECOND,))
        )
        first = world.controller
        host, link = link_of(first)
        second = next_to(first, tmp_path / "second")
        await second.spawn()
        stack.push_async_callback(_ended, second)
        links = [link, f"{SECOND}:{link.rpartition(':')[2]}"]
        one, two = [
            await stack.enter_async_context(running_worker(name, tmp_path / name, first, host, links))
            for name in ("node-1", "node-2")
        ]
        pods = Pods()
        await pods.new(one, "a")
        await pods.new(two, "b")

        await first.kill()
        waited, silent = await pods.answer_during(lambda: pods.new(one, "c"))
        told.append(f"leader killed: a new pod ran after {waited:.1f} s, exec paused for {silent:.1f} s at most")
        await pods.go_on()

        await first.spawn()  # it waits for the lead
        assert second.process is not None
        frozen = second.process
        frozen.send_signal(signal.SIGSTOP)
        waited, silent = await pods.answer_during(lambda: pods.new(two, "d"))
        told.append(f"leader frozen: a new pod ran after {waited:.1f} s, exec paused for {silent:.1f} s at most")
        frozen.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            assert await frozen.wait() != 0, "it leads no more"
        await pods.go_on()

        members[0].kill()
        begun = time.monotonic()
        await one.kill()
        await one.start()
        for uid in ("a", "c"):
            await until_found(lambda c=pods.all[uid][2]: one.said_again(c))
        told.append(f"shim killed: exec answered again after {time.monotonic() - begun:.1f} s")
        await pods.new(one, "e")
        await pods.go_on()

        cells = {cell["instance"] for cell in await first.cells() if cell["state"] == "claimed"}
        assert len(cells) == len(pods.all)
        assert sorted(world.running()) == sorted(cells), "no instance without a pod"
        for worker, sandbox, _ in pods.all.values():
            await worker.shim.remove(sandbox)
        await first.until(lambda left: not [cell for cell in left if cell["state"] == "claimed"], seconds=90)
    with capsys.disabled():
        print("\n".join(["", *told]))


async def _ended(controller: Controller) -> None:
    if controller.process is not None and controller.process.returncode is None:
        controller.process.send_signal(signal.SIGCONT)
    await controller.kill(signal.SIGTERM)
