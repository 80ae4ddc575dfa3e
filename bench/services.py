"""Services at size: 1,000 of them with 5,000 pods that answer, and 100 cells, of which ten use any given one.

The controller's side is the real one, from a pod's readiness in the library over slices and the book to the streams;
each cell is a process with the agent's own part that takes Services, in a network namespace of its own, whose kernel
holds them. Measured: from the change of a pod to the kernel of each cell that uses its Service; the controller's
CPU time for a change, by how many cells use the Service and by how many cells there are; and a cell's own memory.
The ratio is the 99th percentile over one second.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from grpclib.client import Channel
from grpclib.server import Stream

from cellagent.kernel import threads
from cellagent.network.holding import Holding
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import NAMESPACES, SERVICES, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.pods.kind import PODS
from controller.services import cluster_ips, declared
from controller.services import room as services_room
from controller.services.settings import Services
from controller.store import sqlite

SPACES = 10
SERVICES_EACH = 100
ENDPOINTS = 5
CELLS = 100
CHANGES = int(os.environ.get("BENCH_CHANGES", "200"))
# Between two changes, so that each is told by itself: settling takes 20 ms.
PAUSE = 0.1
LIMIT = 1.0
APPLIED = struct.Struct("=IQd")
"""What a cell tells of itself: its number, the sequence that its kernel holds, when that was so (monotonic)."""
MEMORY = struct.Struct("=QQ")
"""Its own memory before and with Services, in bytes."""
HOW = How(manager="bench")
Json = dict[str, Any]


class _Services(CellBase):
    """The one call of a cell that is measured; it tells of each change once its kernel has it."""

    def __init__(self, number: int, told: int) -> None:
        self._number = number
        self._told = told
        self.holding = Holding(f"10.9.{number >> 8}.{number & 255}")

    async def Services(self, stream: Stream[wire.ServicesInput, wire.ServicesOutput]) -> None:
        first = await stream.recv_message()
        assert first is not None

        async def send(said: wire.ServicesOutput) -> None:
            if said.WhichOneof("output") == "applied":
                os.write(self._told, APPLIED.pack(self._number, said.applied, time.monotonic()))
            await stream.send_message(said)

        await self.holding.serve(first.start, aiter(stream), send)


def _missing(name: str) -> Any:
    async def missing(self: Any, stream: Any) -> None:
        raise NotImplementedError(name)

    return missing


def be_a_cell(number: int, path: Path, told: int, memory: int) -> None:
    """The life of a forked process: a cell's part of Services, in a network namespace of its own."""
    threads.leave("net")

    async def serve() -> None:
        ends = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, ends.set)
        kind = type("Cell", (_Services,), {one: _missing(one) for one in CellBase.__abstractmethods__ - {"Services"}})
        async with serving([kind(number, told)], path):
            before = own_memory()
            loop.add_signal_handler(signal.SIGUSR1, lambda: os.write(memory, MEMORY.pack(before, own_memory())))
            await ends.wait()

    uvloop.run(serve())


def own_memory() -> int:
    """Bytes that this process shares with nobody."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


class FleetStub:
    """As much of the fleet as the room of Services asks: claimed cells, and a channel to each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._claimed: asyncio.Queue[Cell] = asyncio.Queue()
        self._cells: dict[CellName, Cell] = {}

    def add(self, number: int, namespace: str) -> None:
        """A cell has a pod of this namespace from now on."""
        pod = PodRef(uid=PodUid(f"u-{number}"), namespace=namespace, name=f"user-{number}")
        demand = Demand(cpu_millis=100, memory_mib=64)
        claim = PodClaim(pod=pod, demand=demand)
        cell = Cell(name=name_of(number), state=CellState.CLAIMED, demand=demand, claim=claim)
        self._cells[cell.name] = cell
        self._claimed.put_nowait(cell)

    def get(self, name: CellName) -> Cell | None:
        return self._cells.get(name)

    async def watch(self) -> AsyncIterator[Cell]:
        while True:
            yield await self._claimed.get()

    async def connected(self, name: CellName) -> Channel:
        return MendedChannel(CELL, path=str(self._folder / f"{name}.sock"))


def name_of(number: int) -> CellName:
    return CellName(f"c-{number}")


class KernelReports:
    """What cells have told: which kernel holds what, since when."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._latest: dict[int, float] = {}
        self._news = asyncio.Event()
        os.set_blocking(source, False)
        asyncio.get_running_loop().add_reader(source, self._read)

    def _read(self) -> None:
        data = os.read(self._source, APPLIED.size * 1000)
        for number, _, at in APPLIED.iter_unpack(data):
            self._latest[number] = at
        self._news.set()

    async def since(self, began: float, cells: Iterable[int], seconds: float = 120.0) -> list[float]:
        """When each of these cells had what has changed since `began`. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not all(self._latest.get(one, 0.0) >= began for one in cells):
                self._news.clear()
                await self._news.wait()
        return [self._latest[one] for one in cells]


def space(number: int) -> str:
    return f"team-{number}"


def pod(name: str, app: str) -> Json:
    containers = [{"name": "c", "image": "i", "ports": [{"containerPort": 8080}]}]
    return {"metadata": {"name": name, "labels": {"app": app}}, "spec": {"containers": containers}}


def status(number: int, *, ready: bool) -> Json:
    address = f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return {
        "phase": "Running",
        "podIP": address,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }


async def declare(found: Library) -> None:
    """All Services and the pods that answer for them."""
    for team in range(SPACES):
        await found.create(NAMESPACES, "", {"metadata": {"name": space(team)}}, HOW)
        async with asyncio.TaskGroup() as tasks:
            for one in range(SERVICES_EACH):
                tasks.create_task(_declare(found, team, one))


async def _declare(found: Library, team: int, number: int) -> None:
    app = f"app-{number}"
    spec = {"ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": app}}
    await found.create(SERVICES, space(team), {"metadata": {"name": app}, "spec": spec}, HOW)
    for each in range(ENDPOINTS):
        await found.create(PODS, space(team), pod(f"{app}-{each}", app), HOW)
        place = (team * SERVICES_EACH + number) * ENDPOINTS + each
        await set_status(found, space(team), f"{app}-{each}", status(place, ready=True))


async def set_status(found: Library, namespace: str, name: str, wanted: Json) -> None:
    await found.keeper(PODS).change(namespace, name, lambda before: {**before, "status": wanted})


@dataclass
class Latencies:
    """Latencies of cells in seconds, sorted, and the controller's CPU time for a change."""

    latencies: list[float]
    cpu: float

    def share(self, part: float) -> float:
        return self.latencies[min(int(len(self.latencies) * part), len(self.latencies) - 1)]


async def measure(found: Library, told: KernelReports, team: int, users: Sequence[int], changes: int) -> Latencies:
    """A pod of a Service of this namespace turns unready, or ready again, so many times."""
    chance = random.Random(20_261_129)
    latencies: list[float] = []
    used = 0.0
    for _ in range(changes):
        name = f"app-{chance.randrange(SERVICES_EACH)}-{chance.randrange(ENDPOINTS)}"
        before = found.find(PODS, space(team), name)["status"]
        turned = "False" if before["conditions"][0]["status"] == "True" else "True"
        wanted = {**before, "conditions": [{"type": "Ready", "status": turned}]}
        cpu, began = time.process_time(), time.monotonic()
        await set_status(found, space(team), name, wanted)
        latencies += [at - began for at in await told.since(began, users)]
        await asyncio.sleep(PAUSE)
        used += time.process_time() - cpu
    return Latencies(sorted(latencies), used / changes)


def placed() -> list[int]:
    """The namespace of each cell: one has a single cell, one ten, one thirty, the rest is spread over the others."""
    return [0, *([1] * 10), *([2] * 30), *(3 + one % (SPACES - 3) for one in range(CELLS - 41))]


async def bench(folder: Path, cells: Sequence[tuple[int, Path]], source: int, memory: int) -> float:
    where = placed()
    of_team = {team: [one for one, place in enumerate(where) if place == team] for team in range(3)}
    told, fleet = KernelReports(source), FleetStub(folder)
    async with sqlite.running(folder / "records.sqlite") as store:
        async with library.running(store, Sealing(bytes(32)), (*STORED, PODS), time.time) as found:
            began = time.monotonic()
            await declare(found)
            print(f"{SPACES * SERVICES_EACH} Services, {SPACES * SERVICES_EACH * ENDPOINTS} pods declared in "
                  f"{time.monotonic() - began:.1f} s", flush=True)  # fmt: skip
            settings = Services()
            async with services_room.running(settings, fleet, "", clustered=False) as room:  # type: ignore[arg-type]
                began = time.monotonic()
                ranges = cluster_ips.ranges(settings.addresses)
                async with declared.running(found, room.book, ranges, room.listed.set):
                    await room.listed.wait()
                    print(f"all endpoints written in {time.monotonic() - began:.1f} s", flush=True)
                    began = time.monotonic()
                    for number in range(41):
                        fleet.add(number, space(where[number]))
                    await told.since(began, range(41))
                    few = await measure(found, told, 1, of_team[1], CHANGES // 4)
                    began = time.monotonic()
                    for number in range(41, CELLS):
                        fleet.add(number, space(where[number]))
                    await told.since(began, range(41, CELLS))
                    print(f"{CELLS} cells hold the Services of their pods' namespaces", flush=True)
                    found_of = {
                        team: await measure(found, told, team, of_team[team], CHANGES if team == 1 else CHANGES // 4)
                        for team in range(3)
                    }
    report(few, found_of, of_team)
    os.kill(cells[of_team[1][0]][0], signal.SIGUSR1)
    before, after = MEMORY.unpack(await asyncio.to_thread(os.read, memory, MEMORY.size))
    print(f"a cell pays {(after - before) / 2**20:.1f} MiB for {SERVICES_EACH} Services with "
          f"{SERVICES_EACH * ENDPOINTS} endpoints")  # fmt: skip
    return found_of[1].share(0.99)


def report(few: Latencies, found_of: dict[int, Latencies], of_team: dict[int, list[int]]) -> None:
    ten = found_of[1]
    print(f"from a pod's change to the kernel of each of ten cells, {len(ten.latencies)} times: "
          f"p50 {ten.share(0.5):.3f} s, p99 {ten.share(0.99):.3f} s, worst {ten.latencies[-1]:.3f} s")  # fmt: skip
    print(f"controller's CPU a change, ten users: {few.cpu * 1000:.1f} ms with 41 cells, "
          f"{ten.cpu * 1000:.1f} ms with {CELLS}")  # fmt: skip
    for team, one in found_of.items():
        print(f"controller's CPU a change, {CELLS} cells: {one.cpu * 1000:.1f} ms with {len(of_team[team])} users")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("bench: services needs root, for a network namespace for each cell")
    source, told = os.pipe()
    heard, memory = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chinampa-bench-") as name:
        folder = Path(name)
        cells: list[tuple[int, Path]] = []
        gc.freeze()
        for number in range(CELLS):
            path = folder / f"{name_of(number)}.sock"
            child = os.fork()
            if child == 0:
                try:
                    be_a_cell(number, path, told, memory)
                finally:
                    os._exit(0)
            cells.append((child, path))
        try:
            while not all(path.exists() for _, path in cells):
                time.sleep(0.05)
            worst = uvloop.run(bench(folder, cells, source, heard))
        finally:
            for child, _ in cells:
                os.kill(child, signal.SIGTERM)
            for child, _ in cells:
                os.waitpid(child, 0)
    print(f"ratio: {worst / LIMIT:.3f}")


if __name__ == "__main__":
    main()
