"""Usage of running containers: their cells are asked when somebody wants to know, and not before.

A rate of CPU needs two looks. Whoever asks twice within a minute pays for one look each time; whoever asks for the
first time waits until the second look, a second later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.objects.fields import Json
from controller.pods.run import PodRun, Running
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.told import Used
from hostkit.tasks import KeyedLocks

# An answer of this age is given again.
FRESH = 5.0
# A rate over longer than this is none of now.
OLDEST = 60.0
SHORTEST = 1.0
# Cells that are asked at once, and how long one may take: a cell that is well answers within milliseconds.
AT_ONCE = 64
DEADLINE = 3.0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the containers of a pod used at a moment, by name: thousandths of a CPU over `window` seconds, and bytes."""

    at: float
    window: float
    cpu_nanocores: dict[str, int]
    memory_bytes: dict[str, int]


class _Look(msgspec.Struct, frozen=True):
    """One look at a pod's containers, by id."""

    at: float
    used: dict[str, Used]


class Usages:
    """Looks at the cells of pods, and remembers the last look."""

    def __init__(self, cells: Cells, now: Callable[[], float]) -> None:
        self._cells = cells
        self._now = now
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._locks = KeyedLocks[str]()
        self._looks: dict[str, _Look] = {}
        self._told: dict[str, Usage] = {}

    async def of(self, pods: Sequence[Json], run_of: Callable[[Json], PodRun]) -> list[tuple[Json, Usage]]:
        """The pods that run, with what they use. A pod whose cell does not answer is left out."""
        running = [pod for pod in pods if _running(run_of(pod))]
        async with asyncio.TaskGroup() as tasks:
            asked = [(pod, tasks.create_task(self._one(pod["metadata"]["uid"], run_of(pod)))) for pod in running]
        return [(pod, found) for pod, task in asked if (found := task.result()) is not None]

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for kept in (self._looks, self._told):
            kept.pop(uid, None)

    async def _one(self, uid: str, run: PodRun) -> Usage | None:
        own = {one.id: name for name, one in run.containers.items() if isinstance(one.state, Running)}
        async with self._locks[uid], self._turns:
            told = self._told.get(uid)
            if told is not None and self._now() - told.at < FRESH and set(own.values()) == told.memory_bytes.keys():
                return told
            try:
                async with asyncio.timeout(DEADLINE):
                    found = await self._measured(uid, run, own)
            except (Fault, TimeoutError):
                return None
            self._told[uid] = found
            return found

    async def _measured(self, uid: str, run: PodRun, own: Mapping[str, str]) -> Usage:
        there = OneCell(self._cells, run.cell, patience=DEADLINE)
        before = self._looks.get(uid)
        if before is None or self._now() - before.at > OLDEST or own.keys() != before.used.keys():
            before = _Look(self._now(), await there.usage(run.sandbox, own.keys()))
            await asyncio.sleep(SHORTEST)
        after = _Look(self._now(), await there.usage(run.sandbox, own.keys()))
        self._looks[uid] = after
        return usage(before.used, after.used, own, self._now())


def usage(before: Mapping[str, Used], after: Mapping[str, Used], own: Mapping[str, str], now: float) -> Usage:
    """What two looks at the same containers tell. Moments are the cell's own: ours may differ from them."""
    both = {container: (before[container], used) for container, used in after.items() if container in before}
    spans = {container: used.at_ns - then.at_ns for container, (then, used) in both.items()}
    return Usage(
        at=now,
        window=max(spans.values(), default=0) / 1e9,
        cpu_nanocores={
            own[container]: max(0, used.cpu_ns - then.cpu_ns) * 1_000_000_000 // spans[container]
            for container, (then, used) in both.items()
            if spans[container] > 0
        },
        memory_bytes={own[container]: used.memory_bytes for container, used in after.items()},
    )


def _running(run: PodRun) -> bool:
    return bool(run.cell and run.sandbox and not run.phase) and any(
        isinstance(one.state, Running) for one in run.containers.values()
    )
