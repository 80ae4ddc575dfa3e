"""Many cells at one controller: what they cost it while all is quiet, when it was killed, and while pods are asked for.

The controller is a process with the real store, link and fleet, and a cloud that only lists its instances. Cells dial
it over real TLS and turned connections, each from an address of its own and by the agent's own code, many to a process.
Measured at each size: CPU time, resident memory and how late the controller's loop is, while all cells are there; after
`kill -9` until the last cell is back; while 1,000 pods are asked for at once, whose instances join; and, of two
controllers over one etcd, from `kill -9` of the leader until the last cell is with the other.

Cells have CPUs of their own, and a controller has its machine: here both, and other work, share this one. So the
controller has a processor whenever it wants one (the kernel's SCHED_RR), as near to a machine of its own as a scheduler
brings it, and its etcd and the cells go before other work, at a niceness of -10. Where that is not allowed all are
equal, and it is said. What is left of other work's influence is in the times until the last cell is back: a handshake
costs the cells' side as much as ours.

Beside it, where KUBE_BIN names one, a real API server with etcd keeps a kubelet's lease for as many nodes. The ratio is
our CPU time for living cells over theirs; without KUBE_BIN it is our CPU at 10,000 cells, as the sizes let it be
foreseen, over half a core.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import _leases
from tests.support.etcd import running_etcd
from tests.support.light_cells_process import ControllerProcess, players
from tests.support.registry import free_port

SIZES = tuple(int(word) for word in os.environ.get("BENCH_CELLS", "100,300,1000").split(","))
PODS = int(os.environ.get("BENCH_PODS", "1000"))
STEADY_SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
# The first heartbeats, and what the start has put off.
SETTLE_SECONDS = 8.0
AIM_CELLS, AIM_CORE = 10_000, 0.5
ROOT = os.geteuid() == 0
CELLS = -10 if ROOT else None
Json = dict[str, Any]


@dataclass(frozen=True)
class SamplePeriod:
    """What passed between two looks: seconds, CPU seconds, resident bytes at the end, lateness in seconds."""

    seconds: float
    cpu: float
    rss: int
    lag: Mapping[str, float]

    @classmethod
    def between(cls, before: Json, after: Json) -> SamplePeriod:
        return cls(after["at"] - before["at"], after["cpu"] - before["cpu"], after["rss"], after["lag"])

    @property
    def share(self) -> float:
        """Of a core."""
        return self.cpu / self.seconds


async def measure(folder: Path, count: int) -> AsyncIterator[tuple[str, SamplePeriod]]:
    """All phases of one controller with so many cells."""
    controller = ControllerProcess(folder, first=ROOT)
    empty = await controller.start(count)
    try:
        async with players(folder, (controller.port,), count, CELLS):
            yield "accepted", SamplePeriod.between(empty, await controller.until_all(count))
            await asyncio.sleep(SETTLE_SECONDS)
            before = await controller.ask("told")
            await asyncio.sleep(STEADY_SECONDS)
            yield "steady", SamplePeriod.between(before, await controller.ask("told"))
            await controller.kill()
            killed = time.monotonic()
            empty = await controller.start()
            back = await controller.until_all(count)
            yield "restart", SamplePeriod.between({**empty, "at": killed}, back)
            await asyncio.sleep(SETTLE_SECONDS)
            before = await controller.ask("told")
            await controller.ask("ask", PODS)
            after = await controller.ask("told")
            assert after["connected"] == after["cells"] == count + PODS, f"not all pods have their cell: {after}"
            yield f"{PODS} pods", SamplePeriod.between(before, after)
    finally:
        await controller.kill()


async def change_of_leader(folder: Path, count: int) -> AsyncIterator[tuple[str, SamplePeriod]]:
    """Of two controllers over an etcd the leading one is killed: until all cells are with the other."""
    with running_etcd(folder) as member:
        if CELLS is not None:
            member.renice(CELLS)
        ports = (free_port(), free_port())
        first, second = (ControllerProcess(folder, port=port, etcd=member.endpoint, first=ROOT) for port in ports)
        try:
            await first.start(count)
            async with players(folder, ports, count, CELLS):
                await first.until_all(count)
                await second.spawn()
                await asyncio.sleep(SETTLE_SECONDS)
                await first.kill()
                killed = time.monotonic()
                empty = await second.listening()
                back = await second.until_all(count)
                assert back["cells"] == count, f"cells were lost: {back}"
                yield "leader", SamplePeriod.between({**empty, "at": killed}, back)
        finally:
            await first.kill()
            await second.kill()


def show(count: int, name: str, one: SamplePeriod) -> None:
    lag = "".join(f"{1000 * one.lag[part]:>8.1f}" for part in ("p50", "p99", "max", "own99", "own_max"))
    print(
        f"{count:>6} {name:<12}{one.seconds:>8.1f}{one.cpu:>9.2f}{100 * one.share:>8.1f}%"
        f"{1000 * one.cpu / count:>10.2f}{one.rss / 2**20:>8.0f}{lag}{os.getloadavg()[0]:>8.1f}",
        flush=True,
    )


def exponent(points: Mapping[int, float]) -> float:
    """Of growth: the slope of a line through the logarithms; 1 is proportional, 0 constant."""
    at = [(math.log(count), math.log(max(value, 1e-9))) for count, value in points.items()]
    middle = [sum(part) / len(at) for part in zip(*at, strict=True)]
    spread = sum((x - middle[0]) ** 2 for x, _ in at)
    return sum((x - middle[0]) * (y - middle[1]) for x, y in at) / spread if spread else math.nan


async def bench() -> float:
    how = f"the controller before all, cells at niceness {CELLS}" if ROOT else "all as any other work"
    print(f"load {os.getloadavg()[0]:.1f}; {how}; CPU ms a cell; lateness of the loop in ms")
    print(
        f"{'cells':>6} {'':<12}{'s':>8}{'CPU s':>9}{'core':>9}{'ms/cell':>10}{'MiB':>8}{'p50':>8}{'p99':>8}{'max':>8}"
        f"{'own p99':>8}{'max':>8}{'load':>8}"
    )
    all_found: dict[int, dict[str, SamplePeriod]] = {}
    for count in SIZES:
        all_found[count] = {}
        for phases in (measure, change_of_leader):
            with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
                async for name, one in phases(Path(folder), count):
                    show(count, name, one)
                    all_found[count][name] = one
    for name in ("accepted", "steady", "restart"):
        cpu = exponent({count: found[name].cpu for count, found in all_found.items()})
        print(f"{name}: CPU grows with the number of cells to the power of {cpu:.2f}")
    most = max(SIZES)
    steady = all_found[most]["steady"]
    grown = exponent({count: found["steady"].cpu for count, found in all_found.items()})
    foreseen = steady.share * (AIM_CELLS / most) ** (1.0 if math.isnan(grown) else grown)
    print(f"foreseen at {AIM_CELLS} cells: {100 * foreseen:.0f} % of a core (aim: {100 * AIM_CORE:.0f} %)")
    theirs = await _leases.share(most, STEADY_SECONDS)
    if theirs is None:
        return foreseen / AIM_CORE
    print(f"kubelet leases of {most} nodes: {100 * theirs:.1f} % of a core in the API server and etcd")
    return steady.share / theirs


def main() -> None:
    print(f"ratio: {asyncio.run(bench()):.3f}")


if __name__ == "__main__":
    main()
