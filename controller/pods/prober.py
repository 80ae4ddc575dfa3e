"""Probes: is a container started, alive, ready? Asked through its cell, since the controller may not reach the pod.

exec runs in the container; http and tcp go through a tunnel to the pod's own loopback, as port-forward does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from cellwire.faults import Fault
from cellwire.stream.remote import RemoteBackend
from controller.objects.fields import Json
from controller.pods.cri import CellRuntime
from controller.pods.events import Recorder
from controller.pods.lifecycle import containers_of
from controller.pods.records import Records
from controller.pods.run import ContainerRun, PodRecord, PodRun, Running

KINDS = {"startupProbe": "Startup", "livenessProbe": "Liveness", "readinessProbe": "Readiness"}
# Enough for a status line; the rest of an answer is of no interest.
STATUS_LINE = 4096


class Tally(msgspec.Struct, frozen=True):
    """Results in a row: how many of the same kind, and which."""

    passed: bool = True
    row: int = 0

    def with_result(self, passed: bool) -> Tally:  # noqa: FBT001
        """The tally after one more result."""
        return Tally(passed, self.row + 1 if passed == self.passed else 1)


def verdict(probe: Json, tally: Tally) -> bool | None:
    """What the results so far mean: True, False, or None for "no change yet". Pure."""
    needed = probe.get("successThreshold", 1) if tally.passed else probe.get("failureThreshold", 3)
    return tally.passed if tally.row >= needed else None


def probing(
    record: PodRecord, records: Records, recorder: Recorder, runtime: CellRuntime, now: Callable[[], float]
) -> Iterator[Coroutine[Any, Any, None]]:
    """One endless task per probe of the pod."""
    for container, _ in containers_of(record.pod["spec"]):
        for kind in KINDS:
            if container.get(kind):
                prober = Prober(record.pod, container, kind, records, runtime)
                yield prober.run(recorder, now)


class Prober:
    """One probe of one container."""

    def __init__(self, pod: Json, container: Json, kind: str, records: Records, runtime: CellRuntime) -> None:
        self._pod = pod
        self._container = container
        self._kind = kind
        self._probe: Json = container[kind]
        self._records = records
        self._runtime = runtime

    def _one(self) -> ContainerRun:
        record = self._records.get(self._pod["metadata"]["uid"])
        return record.run.of(self._container["name"]) if record else ContainerRun(name="")

    async def run(self, recorder: Recorder, now: Callable[[], float]) -> None:
        """Probe for as long as the pod is on its cell."""
        watched, tally = "", Tally()
        while True:
            await asyncio.sleep(self._probe["periodSeconds"] if watched else min(self._probe["periodSeconds"], 1))
            one = self._one()
            if not self._due(one, now()):
                watched = ""
                continue
            if one.id != watched:
                watched, tally = one.id, Tally()
            failure = await self._ask(one)
            tally = tally.with_result(not failure)
            if failure:
                said = f"{KINDS[self._kind]} probe failed: {failure}"
                recorder.warning(self._pod, "Unhealthy", said, one.name)
            result = verdict(self._probe, tally)
            if result is not None:
                await self._conclude(one, result, recorder)

    def _due(self, one: ContainerRun, now: float) -> bool:
        if not isinstance(one.state, Running) or now < one.state.started_at + self._probe.get("initialDelaySeconds", 0):
            return False
        return one.started != (self._kind == "startupProbe")

    async def _conclude(self, one: ContainerRun, passed: bool, recorder: Recorder) -> None:  # noqa: FBT001
        if self._kind == "readinessProbe":
            await self._set(one, ready=passed)
        elif not passed:
            said = f"Container {one.name} failed {KINDS[self._kind].lower()} probe, will be restarted"
            recorder.normal(self._pod, "Killing", said, one.name)
            try:
                await self._runtime.stop(one.id, float(self._pod["spec"]["terminationGracePeriodSeconds"]))
            except Fault as fault:
                recorder.warning(self._pod, "FailedKillPod", str(fault), one.name)
        elif self._kind == "startupProbe":
            await self._set(one, started=True, ready="readinessProbe" not in self._container)

    async def _set(self, one: ContainerRun, **values: bool) -> None:
        def apply(run: PodRun) -> PodRun:
            now = run.of(one.name)
            if now.id != one.id or not isinstance(now.state, Running):
                return run
            return run.having(replace(now, **values))

        await self._records.run(self._pod["metadata"]["uid"], apply)

    async def _ask(self, one: ContainerRun) -> str:
        """Nothing if the probe passed, else why it did not."""
        limit = float(self._probe["timeoutSeconds"])
        try:
            async with asyncio.timeout(limit + 1 if "exec" in self._probe else limit):
                if "exec" in self._probe:
                    reply = await self._runtime.exec(one.id, self._probe["exec"]["command"], limit)
                    return "" if reply.exit_code == 0 else (reply.stdout + reply.stderr).decode(errors="replace")[:512]
                return await self._dial()
        except TimeoutError:
            return f"no answer within {limit:.0f} s"
        except Fault as fault:
            return str(fault)

    async def _dial(self) -> str:
        handler: Json = self._probe.get("httpGet") or self._probe["tcpSocket"]
        channel = await self._runtime.connect()
        record = self._records.get(self._pod["metadata"]["uid"])
        sandbox = record.run.sandbox if record else ""
        async with RemoteBackend(lambda: channel).port_forward(sandbox, self._port(handler["port"])) as tunnel:
            if "httpGet" not in self._probe:
                return ""
            await tunnel.write(_request(handler))
            answer = b""
            async for data in tunnel.received():
                answer += data
                if b"\n" in answer or len(answer) > STATUS_LINE:
                    break
        return _failure(answer)

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        return next(one["containerPort"] for one in self._container["ports"] if one.get("name") == port)


def _request(handler: Json) -> bytes:
    given = {one["name"]: one.get("value", "") for one in handler.get("httpHeaders") or ()}
    headers = {"Host": "localhost", "User-Agent": "kube-probe/chinampa", "Accept": "*/*", "Connection": "close"} | given
    path = handler["path"] if handler["path"].startswith("/") else f"/{handler['path']}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(line.replace("\r", "").replace("\n", "") for line in lines) + "\r\n\r\n").encode()


def _failure(answer: bytes) -> str:
    words = answer.split(b"\n", 1)[0].split()
    if len(words) < 2 or not words[1].isdigit():
        return "the answer is not HTTP"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
