"""Stopping the containers of a pod: hooks, grace, and the order in which sidecars follow what they serve.

As a kubelet: the hooks of all run at once; a sidecar is stopped once those have ended that began after it, or once the
grace is used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Literal

from cellwire.faults import Fault
from controller.model.names import CellName
from controller.objects.schema.containers import AnyContainer, Lifecycle
from controller.objects.schema.pods import PodSpec
from controller.pods import lifecycle
from controller.pods.probe_handlers import Asked, answered
from controller.pods.run import PodRecord, Running
from controller.pods.surroundings import Surroundings
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell

# What is left to a container whose preStop hook, or the wait for its turn, took all of its grace.
LEAST_GRACE = 2.0
# A hook has no limit of its own; the call that carries it has.
LONGEST_HOOK = 3600.0

HookKind = Literal["postStart", "preStop"]


def grace_left(seconds: float) -> Callable[[], float]:
    """The seconds that are left of a grace that begins now, whatever becomes of the wall clock meanwhile."""
    by = time.monotonic() + seconds
    return lambda: max(by - time.monotonic(), 0.0)


class Hand:
    """What stops the containers of one pod on one cell, and runs their hooks."""

    def __init__(self, uid: str, cell: CellName, around: Surroundings, there: OneCell) -> None:
        self._uid = uid
        self._cell = cell
        self._records = around.records
        self._cells = around.cells
        self._recorder = around.recorder
        self._containers = around.room.containers
        self.there = there

    @property
    def record(self) -> PodRecord:
        """The pod as it is written down."""
        record = self._records.get(self._uid)
        if record is None:
            raise KeyError(self._uid)
        return record

    async def hook(self, container: AnyContainer, made: str, kind: HookKind, seconds: float) -> None:
        """Run a hook of a container to its end, or for so many seconds; one that fails after the start ends it."""
        hooks = container.lifecycle or Lifecycle()
        handler = hooks.postStart if kind == "postStart" else hooks.preStop
        if handler is None:
            return
        record = self.record
        asked = Asked(container, made, record.run.sandbox)
        why = await answered(self.there, handler, asked, min(seconds, LONGEST_HOOK))
        if not why:
            return
        reason = "FailedPostStartHook" if kind == "postStart" else "FailedPreStopHook"
        self._recorder.warning(record.shown, reason, f"{kind} hook failed: {why}", container.name)
        if kind == "postStart":
            try:
                await self._containers.stop(made, float(lifecycle.grace_of(record.pod.spec)))
            except Fault as fault:
                self._recorder.warning(record.shown, "FailedKillPod", str(fault), container.name)

    async def stop(
        self, name: str, grace: Callable[[], float], before: Sequence[asyncio.Event] = (), why: str = ""
    ) -> None:
        """Stop a container once these others are over, or its grace is; what fails is told in the pod's events."""
        one = self.record.run.of(name)
        if not one.id or not isinstance(one.state, Running):
            return
        self._recorder.normal(self.record.shown, "Killing", why or f"Stopping container {name}", name)
        try:
            await self._containers.stop(one.id, await self._left(name, one.id, grace, before))
        except Fault as fault:
            if not is_over(self._cells.get(self._cell)):
                self._recorder.warning(self.record.shown, "FailedKillPod", str(fault), name)

    async def _left(self, name: str, made: str, grace: Callable[[], float], before: Sequence[asyncio.Event]) -> float:
        """The grace of a container once its hook has run and its turn has come; some, if it had any."""
        if grace() <= 0:
            return 0.0
        container = lifecycle.container_named(self.record.pod.spec, name)
        if container is not None:
            await self.hook(container, made, "preStop", grace())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace()):
                for one in before:
                    await one.wait()
        return max(grace(), LEAST_GRACE)


async def stop_all(hand: Hand, grace: Callable[[], float]) -> None:
    """Stop all containers of the pod, each within `grace()` s from now."""
    spec = hand.record.pod.spec
    over = {container.name: asyncio.Event() for container, _ in lifecycle.containers_of(spec)}

    async def stop(name: str, before: Sequence[asyncio.Event]) -> None:
        try:
            await hand.stop(name, grace, before)
        finally:
            over[name].set()

    async with asyncio.TaskGroup() as tasks:
        for name, others in turns(spec).items():
            tasks.create_task(stop(name, [over[one] for one in others]))


def turns(spec: PodSpec) -> dict[str, tuple[str, ...]]:
    """For each container those that must be over before it is stopped: sidecars go last, in reverse order. Pure."""
    names = [container.name for container, _ in lifecycle.containers_of(spec)]
    sidecars = [one.name for one in spec.initContainers if lifecycle.is_sidecar(one)]
    others = [name for name in names if name not in sidecars]
    found: dict[str, tuple[str, ...]] = dict.fromkeys(others, ())
    return found | {name: (*others, *sidecars[index + 1 :]) for index, name in enumerate(sidecars)}
