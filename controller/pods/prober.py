"""Probes: is a container started, alive, ready? Asked through its cell, since the controller may not reach the pod."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from controller.objects.schema.containers import AnyContainer, Probe
from controller.pods.lifecycle import containers_of, grace_of
from controller.pods.probe_handlers import Asked, answered
from controller.pods.run import ContainerRun, PodRecord, PodRun, Running
from controller.pods.stopping import Hand, grace_left
from controller.pods.surroundings import Surroundings


class ProbeKind(enum.StrEnum):
    """What a probe says of a container: that it has started, is alive, is ready."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


class Tally(msgspec.Struct, frozen=True):
    """Results in a row: how many of the same kind, and which."""

    passed: bool = True
    row: int = 0

    def with_result(self, passed: bool) -> Tally:  # noqa: FBT001
        """The tally after one more result."""
        return Tally(passed, self.row + 1 if passed == self.passed else 1)


def verdict(probe: Probe, tally: Tally) -> bool | None:
    """What the results so far mean: True, False, or None for "no change yet". Pure."""
    needed = (probe.successThreshold or 1) if tally.passed else (probe.failureThreshold or 3)
    return tally.passed if tally.row >= needed else None


def probing(record: PodRecord, around: Surroundings, hand: Hand) -> Iterator[Coroutine[Any, Any, None]]:
    """One endless task per probe of the pod."""
    for container, _ in containers_of(record.pod.spec):
        for kind in ProbeKind:
            if (probe := _declared(container, kind)) is not None:
                yield Prober(record, container, (kind, probe), around, hand).run()


def _declared(container: AnyContainer, kind: ProbeKind) -> Probe | None:
    match kind:
        case ProbeKind.STARTUP:
            return container.startupProbe
        case ProbeKind.LIVENESS:
            return container.livenessProbe
        case ProbeKind.READINESS:
            return container.readinessProbe


class Prober:
    """One probe of one container."""

    def __init__(
        self,
        record: PodRecord,
        container: AnyContainer,
        asks: tuple[ProbeKind, Probe],
        around: Surroundings,
        hand: Hand,
    ) -> None:
        self._shown, self._pod = record.shown, record.pod
        self._container = container
        self._kind, self._probe = asks
        self._every = self._probe.periodSeconds or 10
        self._records = around.records
        self._recorder = around.recorder
        self._now = around.now
        self._hand = hand
        self._begun, self._first = "", 0.0

    def _one(self) -> ContainerRun:
        record = self._records.get(self._pod.metadata.uid)
        return record.run.of(self._container.name) if record else ContainerRun(name="")

    async def run(self) -> None:
        """Probe for as long as the pod is on its cell."""
        watched, tally = "", Tally()
        while True:
            await asyncio.sleep(self._every if watched else min(self._every, 1))
            one = self._one()
            if not self._due(one):
                watched = ""
                continue
            if one.id != watched:
                watched, tally = one.id, Tally()
            failure = await self._ask(one)
            tally = tally.with_result(not failure)
            if failure:
                said = f"{self._kind} probe failed: {failure}"
                self._recorder.warning(self._shown, "Unhealthy", said, one.name)
            result = verdict(self._probe, tally)
            if result is not None:
                await self._conclude(one, result)

    def _due(self, one: ContainerRun) -> bool:
        if not isinstance(one.state, Running):
            return False
        if one.id != self._begun:
            # By a clock that nobody sets: when it began is told by the cell's, which may be ahead of ours.
            ran = max(self._now() - one.state.started_at, 0.0)
            self._begun, self._first = one.id, time.monotonic() + self._probe.initialDelaySeconds - ran
        if time.monotonic() < self._first:
            return False
        return one.started != (self._kind is ProbeKind.STARTUP)

    async def _conclude(self, one: ContainerRun, passed: bool) -> None:  # noqa: FBT001
        if self._kind is ProbeKind.READINESS:
            await self._set(one, ready=passed)
        elif not passed:
            said = f"Container {one.name} failed {self._kind.lower()} probe, will be restarted"
            await self._hand.stop(one.name, grace_left(self._grace()), why=said)
        elif self._kind is ProbeKind.STARTUP:
            await self._set(one, started=True, ready=self._container.readinessProbe is None)

    def _grace(self) -> int:
        own = self._probe.terminationGracePeriodSeconds
        return grace_of(self._pod.spec) if own is None else own

    async def _set(self, one: ContainerRun, **values: bool) -> None:
        def apply(run: PodRun) -> PodRun:
            now = run.of(one.name)
            if now.id != one.id or not isinstance(now.state, Running):
                return run
            return run.having(replace(now, **values))

        await self._records.run(self._pod.metadata.uid, apply)

    async def _ask(self, one: ContainerRun) -> str:
        """Nothing if the probe passed, else why it did not."""
        record = self._records.get(self._pod.metadata.uid)
        asked = Asked(self._container, one.id, record.run.sandbox if record else "")
        return await answered(self._hand.there, self._probe, asked, float(self._probe.timeoutSeconds or 1))
