"""A run of chaos: pods come and go while harm is done at random, and what must hold is looked at all the way.

    CHAOS_FAULTS=1000 CHAOS_SEED=7 python -m tests.chaos.run

Held: no line of a log is lost or doubled, each pod ends with its own code, none runs twice for longer than a cell takes
to be ended, none is started again but where its cell was lost, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from cellagent.kernel import mounts
from controller.clouds.local.sweep import Leftovers
from tests.chaos.client import Client, client_of
from tests.chaos.faults import FAKETIME, FAULTS, LEAD, LEASE, Nothing, World
from tests.chaos.pods import ENDLESS, Pod
from tests.support import machine
from tests.support.controller import running_controller
from tests.support.etcd import Etcd, running_etcds
from tests.support.processes import command_line

# How long a cell that was given up may go on beside the one that follows it: until its lease, and it is ended.
TWICE_SECONDS = LEASE + 40.0
# How long a deleted pod may be there, of the time in which a controller answers: one that starts every minute, and each
# time for half of it on a busy machine, gets little done.
END_SECONDS = 240.0
AWAY_SECONDS = 5.0
SMALL_DISK = "size=96m"
AT_ONCE = {"once": 3, "ever": 2, "brief": 1, "crash": 1}

# How likely it is, at each look, that a pod is deleted in the midst of its life.
_DELETED = {"once": 0.0, "crash": 0.0, "ever": 0.02, "brief": 0.25}


class Violation(AssertionError):
    """Something that must hold did not."""


class Run:
    """One run of so many faults."""

    def __init__(self, world: World, client: Client, faults: int) -> None:
        self._world = world
        self._client = client
        self._left = faults
        self._over = asyncio.Event()
        self._living: dict[str, Pod] = {}
        self._made = 0
        self._instances: defaultdict[str, str] = defaultdict(str)
        self._cells: defaultdict[str, set[str]] = defaultdict(set)
        self._twice: dict[str, float] = {}
        self._deleted: dict[str, float] = {}
        self._begun = self._looked = time.monotonic()
        self.done: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def go(self) -> None:
        """Raises a group with Violation in it."""
        try:
            await self._go()
        except* TimeoutError as group:
            process = self._world.controller.process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGUSR1)
                await asyncio.sleep(2)
            raise Violation(self._words("the controller does not answer")) from group

    async def _go(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            looks = tasks.create_task(self._look())
            lives = tasks.create_task(self._lives())
            async with asyncio.TaskGroup() as harms:
                harms.create_task(self._harm())
                harms.create_task(self._harm())
            self._tell("no more harm is done")
            self._over.set()
            await lives
            await self._empty()
            looks.cancel()

    async def _harm(self) -> None:
        chance = self._world.chance
        wanted = os.environ.get("CHAOS_KINDS", "").replace(",", " ").split()
        weighed = {kind: weight for kind, weight in FAULTS.items() if not wanted or kind.__name__ in wanted}
        kinds, weights = list(weighed), list(weighed.values())
        while self._left > 0:
            await asyncio.sleep(chance.uniform(0.2, 2.0))
            (kind,) = chance.choices(kinds, weights)
            try:
                self._left -= 1
                self._tell(f"{kind.__name__} begins")
                said = await kind(self._world)
            except Nothing:
                self._left += 1
                continue
            self.done[kind.__name__] += 1
            self._tell(said)

    async def _lives(self) -> None:
        """Keep so many pods of each kind, look at those that end, and at the end of the run at all of them."""
        while True:
            now = Counter(pod.kind for pod in self._living.values())
            if not self._over.is_set():
                for kind, count in AT_ONCE.items():
                    if now[kind] < count:
                        await self._another(kind)
            shown = await self._client.pods()
            for pod in list(self._living.values()):
                if pod.name not in shown:
                    raise Violation(self._words(f"{pod.name} is gone, and nobody deleted it"))
                if pod.over(shown[pod.name]) or self._world.chance.random() < _DELETED[pod.kind]:
                    await self._judge(pod, shown[pod.name])
            self._look_at_deleted(shown)
            if self._over.is_set() and not [pod for pod in self._living.values() if pod.kind not in ENDLESS]:
                break
            await asyncio.sleep(0.7)
        for pod in list(self._living.values()):
            await self._judge(pod, (await self._client.pods())[pod.name])

    async def _another(self, kind: str) -> None:
        self._made += 1
        code = self._world.chance.choice((0, 0, 3, 77)) if kind == "once" else 0
        pod = Pod(f"{kind}-{self._made}", kind, lines=self._world.chance.randint(20, 300), code=code)
        await self._client.create(pod.manifest())
        self._living[pod.name] = pod

    async def _judge(self, pod: Pod, shown: dict[str, Any]) -> None:
        log = await self._client.log(pod.name) if self._has_begun(shown) else []
        events = await self._client.events(pod.name)
        self._learn_of_launches()
        cells = set(re.findall(r"to cell (c-\w+)", "\n".join(events))) | self._cells[pod.name]
        costs = [why for one, why in self._world.costs.items() if self._instances[one] in cells]
        if wrong := pod.wrong(shown, log, events, ", ".join(costs)):
            raise Violation(self._words(f"{wrong}\n{json.dumps(shown['status'], indent=1)}\n" + "\n".join(events)))
        self.ended[f"{pod.kind} {'hit' if costs else 'whole'}"] += 1
        await self._client.delete(pod.name)
        self._deleted[pod.name] = 0.0
        del self._living[pod.name]

    def _look_at_deleted(self, shown: dict[str, Any]) -> None:
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, AWAY_SECONDS), now
        self._deleted = {name: spent + passed for name, spent in self._deleted.items() if name in shown}
        for name, spent in self._deleted.items():
            if spent > END_SECONDS:
                raise Violation(self._words(f"{name} was deleted, and is there: {json.dumps(shown[name])}"))

    @staticmethod
    def _has_begun(shown: dict[str, Any]) -> bool:
        statuses = shown["status"].get("containerStatuses") or [{}]
        return bool({"running", "terminated"} & set(statuses[0].get("state", {})))

    def _learn_of_launches(self) -> None:
        """Which instance is which cell; where that was shorter than a look, the controller's log has it."""
        log = (self._world.controller.folder / "controller.log").read_text(errors="replace")
        for cell, instance in re.findall(r"instance launched' cell='(c-\w+)' instance='(i-\w+)'", log):
            self._instances[instance] = cell

    async def _look(self) -> None:
        """What must hold at every moment."""
        while True:
            for cell in await self._client.cells():
                self._instances[cell["instance"]] = cell["name"]
                self._cells[(cell["pod"] or "").partition("/")[2]].add(cell["name"])
            self._keep_consoles()
            running: defaultdict[str, list[str]] = defaultdict(list)
            for instance in self._world.instances():
                for pid in self._world.processes(instance, b"sh\0-c\0n=0; while"):
                    if found := re.search(rb"echo ([a-z]+-\d+) ", command_line(pid)):
                        running[found[1].decode()].append(instance)
            now = time.monotonic()
            twice = {pod for pod, instances in running.items() if len(instances) > 1}
            self._twice = {pod: self._twice.get(pod, now) for pod in twice}
            for pod, since in self._twice.items():
                if now - since > TWICE_SECONDS:
                    raise Violation(self._words(f"{pod} runs on {sorted(running[pod])} for {now - since:.0f} s"))
            process = self._world.controller.process
            if process is not None and process.returncode is not None and not self._world.controllers.locked():
                raise Violation(self._words(f"the controller has ended by itself: {process.returncode}"))
            await asyncio.sleep(1.0)

    def _keep_consoles(self) -> None:
        """What instances said, for who looks for a cause: they take it along when they end."""
        folder = os.environ.get("CHAOS_CONSOLES")
        if not folder:
            return
        for console in (self._world.controller.cloud.root / "instances").glob("*/console.log"):
            with suppress(OSError):
                shutil.copyfile(console, Path(folder) / f"{console.parent.name}.log")

    async def _empty(self) -> None:
        """All pods are deleted by now: nothing of them may be left."""
        left: object = None
        ended = time.monotonic() + END_SECONDS
        while time.monotonic() < ended:
            left = (await self._client.cells(), await self._world.controller.left())
            if left == ([], Leftovers()):
                break
            await asyncio.sleep(0.5)
        else:
            await self._dump_tasks()
            pods = json.dumps(await self._client.pods())
            raise Violation(self._words(f"what is left after {END_SECONDS:.0f} s: {left}\n{pods}"))
        log = (self._world.controller.folder / "controller.log").read_text(errors="replace")
        if "Traceback" in log:
            at = log.index("Traceback")
            raise Violation(self._words(f"a traceback in the log: {log[max(at - 500, 0) : at + 3000]}"))

    async def _dump_tasks(self) -> None:
        """Have the controller write into its log what each of its tasks waits for."""
        process = self._world.controller.process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGUSR1)
            await asyncio.sleep(3.0)

    def _tell(self, said: str) -> None:
        line = f"{time.monotonic() - self._begun:7.1f}  {said}"
        self._world.told.append(line)
        print(line, file=sys.stderr, flush=True)

    def _words(self, said: str) -> str:
        if folder := os.environ.get("CHAOS_CONSOLES"):
            shutil.copyfile(self._world.controller.folder / "controller.log", Path(folder) / "controller.log")
        last = "\n".join(self._world.told[-25:])
        return f"{said}\n--- harm done\n{last}\n--- controller\n{self._world.controller.words()}"


@asynccontextmanager
async def _small_disk(folder: Path) -> AsyncGenerator[Path]:
    folder.mkdir()
    mounts.mount("tmpfs", str(folder), "tmpfs", options=SMALL_DISK)
    try:
        yield folder
    finally:
        mounts.unmount(folder)


async def chaos(folder: Path, faults: int, seed: int, store: str) -> Run:
    """Do so many faults, with the records in "sqlite" or "etcd". Raises a group with Violation in it."""
    async with AsyncExitStack() as stack:
        disk = await stack.enter_async_context(_small_disk(folder / "state"))
        members, more = list[Etcd](), ""
        if store == "etcd":
            members = stack.enter_context(running_etcds(folder / "etcd", ("one", "two", "three")))
            endpoints = ", ".join(f'"{member.endpoint}"' for member in members)
            more = f'[store]\nkind = "etcd"\nendpoints = [{endpoints}]\nlease = {LEAD}\n'
        clock = folder / "clock" if FAKETIME is not None else None
        moved = _clock_of(clock, FAKETIME) if clock is not None and FAKETIME is not None else ()
        controller = await stack.enter_async_context(running_controller(folder, more, lease=LEASE, prefix=moved))
        listening = re.search(r":(\d+)\"", (folder / "registry.yml").read_text())
        assert listening is not None
        client = await stack.enter_async_context(client_of(controller))
        world = World(controller, random.Random(seed), int(listening[1]), disk, members, clock)
        run = Run(world, client, faults)
        await run.go()
        return run


def store_of(seed: int) -> str:
    """Where the records of a run are: by turns."""
    return "sqlite" if seed % 2 else "etcd"


def _clock_of(file: Path, library: Path) -> tuple[str, ...]:
    """What runs a process whose wall clock is as far off as the file says."""
    file.write_text("+0\n")
    told = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    return ("env", *(f"{name}={value}" for name, value in told.items()))


async def main() -> None:
    """As the environment says."""
    machine.compile_once()
    machine.leave_the_machines()
    faults, seed = int(os.environ.get("CHAOS_FAULTS", "50")), int(os.environ.get("CHAOS_SEED", "1"))
    if consoles := os.environ.get("CHAOS_CONSOLES"):
        Path(consoles).mkdir(parents=True, exist_ok=True)
    store = os.environ.get("CHAOS_STORE") or store_of(seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        run = await chaos(Path(folder), faults, seed, store)
    did = f"{dict(run.done)}; pods: {dict(run.ended)}"
    print(f"chaos: seed {seed}, records in {store}: {did}: nothing was lost, doubled or left")


if __name__ == "__main__":
    asyncio.run(main())
