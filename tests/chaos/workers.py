"""Chaos on workers with shims of their own: two of them, two controllers over three members of etcd.

    CHAOS_FAULTS=100 CHAOS_SEED=7 python -m tests.chaos.workers

Controllers, shims, members of etcd and agents are killed and frozen, links cut. Held: nothing of it costs a pod, a line
of a log or an instance, who is no leader any more says so and ends, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.chaos import faults
from tests.chaos.faults import LEAD, LEASE, Nothing
from tests.chaos.run import Violation
from tests.e2e.test_frozen_leader import SECOND, next_to
from tests.support import ec2_controller, machine
from tests.support.controller import Controller
from tests.support.ec2_controller import running_on_ec2
from tests.support.etcd import running_etcds
from tests.support.waiting import until_found
from tests.support.worker import COUNT, WorkerProcess, link_of, running_worker

FLEET = f"lease = {LEASE}\nheartbeat = 1\n"
REAL = 10_000
AT_ONCE = 4
REMOVED = 0.05
"""How likely it is, at each look, that a pod is removed, so that another comes."""
BEGIN_SECONDS = 300.0
END_SECONDS = 240.0
# For a leader that slept to find out and to end. One that did not lead goes on, which takes so long to see.
ENDED_SECONDS = 4.0 * LEAD
# What a kubelet asks again after: nobody answers just now.
PASSING = frozenset({Kind.UNAVAILABLE, Kind.UNREACHABLE, Kind.TIMEOUT})


@dataclass
class World:
    """Everything that may be harmed. `of_cells` is what the faults of cells and members act on."""

    controllers: list[Controller]
    workers: list[WorkerProcess]
    of_cells: faults.World
    ec2: ec2_controller.ControllerOnEc2
    locks: dict[object, asyncio.Lock] = field(default_factory=dict[object, asyncio.Lock])

    def lock(self, name: object) -> asyncio.Lock:
        """One harm at a time to one thing."""
        return self.locks.setdefault(name, asyncio.Lock())


async def kill_controller(world: World) -> str:
    """SIGKILL of one of the two, which leads or waits; another process follows within two seconds."""
    chance = world.of_cells.chance
    number, away = chance.randrange(2), chance.uniform(0, 2)
    async with world.lock(number):
        await world.controllers[number].kill(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        await asyncio.sleep(away)
        await world.controllers[number].spawn()
    return f"controller {number} killed, away for {away:.1f} s"


async def freeze_controller(world: World) -> str:
    """SIGSTOP of one of the two; half the time for longer than the lead lasts without it."""
    chance = world.of_cells.chance
    number, long = chance.randrange(2), chance.random() < 0.5
    seconds = LEAD + chance.uniform(3, 10) if long else chance.uniform(1, LEAD / 2)
    async with world.lock(number):
        process = world.controllers[number].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        if long:
            await _led_no_more(world.controllers[number])
    return f"controller {number} frozen for {seconds:.1f} s"


async def kill_shim(world: World) -> str:
    """SIGKILL of a worker's shim; its kubelet waits until the next one answers."""
    worker = world.of_cells.chance.choice(world.workers)
    async with world.lock(worker.name):
        await worker.kill()
        await worker.start()
    return f"shim of {worker.name} killed"


async def freeze_shim(world: World) -> str:
    """SIGSTOP of a worker's shim."""
    worker, seconds = world.of_cells.chance.choice(world.workers), world.of_cells.chance.uniform(1, 12)
    async with world.lock(worker.name):
        assert worker.process is not None
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.process.send_signal(signal.SIGCONT)
    return f"shim of {worker.name} frozen for {seconds:.1f} s"


def _of_cells(harm: faults.Harm) -> Callable[[World], Awaitable[str]]:
    async def harmed(world: World) -> str:
        return await harm(world.of_cells)

    harmed.__name__ = harm.__name__
    return harmed


KINDS: dict[Callable[[World], Awaitable[str]], int] = {
    kill_controller: 4,
    freeze_controller: 4,
    kill_shim: 4,
    freeze_shim: 3,
    _of_cells(faults.kill_member): 3,
    _of_cells(faults.freeze_member): 3,
    _of_cells(faults.kill_agent): 3,
    _of_cells(faults.cut_link): 3,
    _of_cells(faults.narrow_link): 2,
    _of_cells(faults.reset_link): 2,
}


class Run:
    """One run of so many faults."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._left = count
        self._over = False
        self._made = 0
        self._begun = time.monotonic()
        self._pods: dict[str, tuple[WorkerProcess, str, str]] = {}
        self.told: list[str] = []
        self.done: Counter[str] = Counter()
        self.removed = 0

    async def go(self) -> None:
        """Raises a group with Violation in it."""
        async with asyncio.TaskGroup() as tasks:
            looks = tasks.create_task(self._look())
            async with asyncio.TaskGroup() as lives:
                for number in range(AT_ONCE):
                    lives.create_task(self._life(self._world.workers[number % 2]))
                async with asyncio.TaskGroup() as harms:
                    harms.create_task(self._harm())
                    harms.create_task(self._harm())
                self._tell("no more harm is done")
                self._over = True
            for uid in list(self._pods):
                await self._end(uid)
            await self._empty()
            looks.cancel()

    async def _harm(self) -> None:
        chance, kinds, weights = self._world.of_cells.chance, list(KINDS), list(KINDS.values())
        while self._left > 0:
            await asyncio.sleep(chance.uniform(0.2, 3.0))
            (kind,) = chance.choices(kinds, weights)
            try:
                self._left -= 1
                self._tell(f"{kind.__name__} begins")
                self._tell(await kind(self._world))
            except Nothing:
                self._left += 1
            else:
                self.done[kind.__name__] += 1

    async def _life(self, worker: WorkerProcess) -> None:
        """One pod after the other on a worker; the last stays for the end."""
        while not self._over:
            self._made += 1
            uid = f"u{self._made}"
            self._pods[uid] = worker, *await self._begin(worker, uid)
            while not self._over and self._world.of_cells.chance.random() >= REMOVED:
                await asyncio.sleep(1.0)
            if not self._over:
                await self._end(uid)

    async def _begin(self, worker: WorkerProcess, uid: str) -> tuple[str, str]:
        """A running pod, each step asked for as long as a kubelet would."""
        config = worker.shim.config(uid)
        sandbox = await self._asked(f"sandbox of {uid}", lambda: worker.shim.run(config))

        async def started() -> str:
            listed = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox))
            there = (await call(worker.shim.runtime.ListContainers, listed, deadline=10)).containers
            container = there[0].id if there else await worker.shim.create(sandbox, config, *COUNT)
            try:
                if (await worker.shim.status(container)).state == cri.CONTAINER_CREATED:
                    await worker.shim.start(container)
            except Fault as fault:
                # One that was made just before its shim was killed: a kubelet finds none then, and makes another.
                if fault.kind is not Kind.NOT_FOUND:
                    raise
                return ""
            return container

        return sandbox, await self._asked(f"container of {uid}", started)

    async def _asked(self, what: str, work: Callable[[], Awaitable[str]]) -> str:
        last = "nothing"

        async def once() -> str:
            nonlocal last
            try:
                return await work()
            except Fault as fault:
                if fault.kind not in PASSING:
                    raise Violation(self._words(f"{what}: {fault}")) from fault
                last = str(fault)
                return ""

        try:
            return await until_found(once, seconds=BEGIN_SECONDS)
        except TimeoutError as error:
            raise Violation(self._words(f"{what}: not in {BEGIN_SECONDS:.0f} s: {last}")) from error

    async def _end(self, uid: str) -> None:
        """Look at a pod a last time, which must be as it was, and remove it."""
        worker, sandbox, container = self._pods[uid]

        async def alive() -> str:
            status = await worker.shim.status(container)
            if status.state != cri.CONTAINER_RUNNING:
                raise Violation(self._words(f"{uid} runs no more: {status}"))
            return await worker.said_again(container)

        await self._asked(f"exec in {uid}", alive)
        try:
            await worker.counts_on(uid)
        except (AssertionError, TimeoutError) as error:
            raise Violation(self._words(f"log of {uid}: {error or 'it does not grow'}")) from error

        async def gone() -> str:
            await worker.shim.remove(sandbox)
            return "gone"

        await self._asked(f"removal of {uid}", gone)
        del self._pods[uid]
        self.removed += 1

    async def _look(self) -> None:
        """What must hold at every moment."""
        while True:
            for number, controller in enumerate(self._world.controllers):
                process = controller.process
                ended = process is not None and process.returncode is not None
                if ended and not self._world.lock(number).locked():
                    raise Violation(self._words(f"controller {number} has ended by itself:\n{controller.words()}"))
            for uid, (worker, _, _) in list(self._pods.items()):
                lines = worker.log_of(uid)
                for at, line in enumerate(lines, start=1):
                    # The last may be half written.
                    if line != f"line {at}" and at < len(lines):
                        raise Violation(self._words(f"line {at} of {uid} reads {line!r}"))
            await asyncio.sleep(2.0)

    async def _empty(self) -> None:
        running = self._world.ec2.running()
        ended = time.monotonic() + END_SECONDS
        while running and time.monotonic() < ended:
            await asyncio.sleep(1.0)
            running = self._world.ec2.running()
        if running:
            raise Violation(self._words(f"instances without a pod after {END_SECONDS:.0f} s: {running}"))
        logs = [one.folder / "controller.log" for one in self._world.controllers]
        logs += [one.folder / "shim.log" for one in self._world.workers]
        for log in logs:
            text = log.read_text(errors="replace")
            if "Traceback" in text:
                at = text.index("Traceback")
                raise Violation(self._words(f"a traceback in {log}: {text[max(at - 500, 0) : at + 3000]}"))

    def _tell(self, said: str) -> None:
        self.told.append(f"{time.monotonic() - self._begun:7.1f}  {said}")
        print(self.told[-1], file=sys.stderr, flush=True)

    def _words(self, said: str) -> str:
        logs = [f"--- controller\n{one.words()}" for one in self._world.controllers]
        logs += [f"--- {one.name}\n{one.words()}" for one in self._world.workers]
        return "\n".join([said, "--- harm done", *self.told[-25:], *logs])


async def _led_no_more(controller: Controller) -> None:
    """One that slept for longer than its lease ends, if it was the leader, and another process follows it."""
    process = controller.process
    assert process is not None
    try:
        async with asyncio.timeout(ENDED_SECONDS):
            code = await process.wait()
    except TimeoutError:
        return
    if "LeadLost" not in controller.words() and "lead " not in controller.words():
        raise Violation(f"a controller ended with {code}, and not for its lead:\n{controller.words()}")
    await controller.spawn()


async def chaos(folder: Path, count: int, seed: int) -> Run:
    """Do so many faults. Raises a group with Violation in it."""
    subprocess.run(["ip", "address", "replace", f"{SECOND}/32", "dev", "lo"], check=True)
    async with AsyncExitStack() as stack:
        (folder / "first").mkdir()
        members = stack.enter_context(running_etcds(folder / "etcd", ("one", "two", "three")))
        endpoints = ", ".join(f'"{member.endpoint}"' for member in members)
        store = f'[store]\nkind = "etcd"\nendpoints = [{endpoints}]\nlease = {LEAD}\n'
        ec2 = await stack.enter_async_context(
            running_on_ec2(folder / "first", real=REAL, fleet=FLEET, store=store, also=(SECOND,))
        )
        first = ec2.controller
        host, link = link_of(first)
        second = next_to(first, folder / "second")
        await second.spawn()
        stack.push_async_callback(second.kill, signal.SIGTERM)
        links = [link, f"{SECOND}:{link.rpartition(':')[2]}"]
        workers = [
            await stack.enter_async_context(running_worker(name, folder / name, first, host, links))
            for name in ("node-1", "node-2")
        ]
        of_cells = faults.World(first, random.Random(seed), 0, members=members)
        run = Run(World([first, second], workers, of_cells, ec2), count)
        await run.go()
        return run


async def main() -> None:
    """As the environment says."""
    machine.compile_once()
    machine.leave_the_machines()
    count, seed = int(os.environ.get("CHAOS_FAULTS", "30")), int(os.environ.get("CHAOS_SEED", "1"))
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        run = await chaos(Path(folder), count, seed)
    print(f"chaos of workers: seed {seed}: {dict(run.done)}; {run.removed} pods: nothing was lost, doubled or left")


if __name__ == "__main__":
    asyncio.run(main())
