"""Kubernetes events of pods, as `kubectl describe` and `kubectl get events` show them. Kept for an hour.

The same thing said again raises the count of its event, and much that is alike is told in one, so that a crash loop is
one line. Events are stored about a second later, a record for each pod: a controller that is killed may lose the last
second of them, and nothing else waits for that write.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import uuid
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.objects.collection import Objects
from controller.objects.fields import Json, bad_request
from controller.objects.stored import Ending
from controller.objects.timestamps import timestamp
from controller.store.record_store import Store

log = structlog.get_logger()
KIND = "pod-events"
GIVEN = "given/"
KEPT_SECONDS = 3600.0
# More would fill the memory, and the record that is written at each change. The oldest give way, of the namespace that
# has most: nobody's many push out what others are to be told.
MOST_OF_POD, MOST_OF_ALL = 60, 20_000
LONGEST_MESSAGE = 1024
STORE_EVERY = 1.0
LAST_WRITE = 5.0
# As client-go's EventAggregator: so many events of one reason within this time, and those that follow are one.
ALIKE, ALIKE_WITHIN = 10, 600.0
COMBINED = "(combined from similar events): "
# What every event says; a change that leaves one of them out leaves it as it was.
SAID_OF_EACH = ("type", "reason", "message", "count", "firstTimestamp", "lastTimestamp")
_UNREADABLE = (ValueError, OverflowError, TypeError, KeyError, AttributeError)

_Said = tuple[str, ...]


class Recorder:
    """Shows events in `objects` and keeps them in `store`. `work` stores them."""

    def __init__(self, objects: Objects, store: Store, now: Callable[[], float]) -> None:
        self._objects = objects
        self._store = store
        self._now = now
        # What was said → its event, the least lately said first.
        self._known: dict[_Said, tuple[str, str, float]] = {}
        self._of_pod: dict[str, dict[_Said, None]] = {}
        self._of_namespace: dict[str, dict[_Said, None]] = {}
        self._alike: dict[_Said, deque[float]] = {}
        self._unstored: set[str] = set()

    def normal(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that was to be expected."""
        self._say(pod, "Normal", reason, message, container)

    def warning(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that somebody ought to look at."""
        self._say(pod, "Warning", reason, message, container)

    def once(self, pod: Json, reason: str, message: str) -> None:
        """As `normal`; nothing where it was said before, be it by an earlier life."""
        if (pod["metadata"]["uid"], "Normal", reason, message, "") not in self._known:
            self.normal(pod, reason, message)

    @property
    def objects(self) -> Objects:
        """The events as they are shown."""
        return self._objects

    async def create(self, new: Json) -> Json:
        """Keep an event that somebody else tells of. Raises Fault INVALID."""
        now = self._now()
        at = timestamp(now)
        metadata = new["metadata"]
        event = {"firstTimestamp": at, "lastTimestamp": at, "count": 1, "type": "Normal", "reason": "", "message": ""}
        event |= {field: value for field, value in new.items() if value is not None}
        _check(event)
        shown = self._objects.put(event)
        self._keep(_given(shown), (metadata["namespace"], metadata["name"], now))
        self._unstored.add(_given(shown)[0])
        self._expire()
        return shown

    async def change(self, namespace: str, name: str, change: Callable[[Json], Json]) -> Json:
        """Change an event, as whoever counts its repetitions does. Raises Fault NOT_FOUND and INVALID."""
        before = self._found(namespace, name)
        wanted = change(before)
        kept = {field: before[field] for field in SAID_OF_EACH if wanted.get(field) is None and field in before}
        after = {**wanted, **kept}
        if after == before:
            return before
        _check(after)
        if after["involvedObject"] != before.get("involvedObject"):
            raise bad_request("involvedObject of an event cannot be changed")
        self._unstored.update(
            said[0] for said, (where, called, _) in self._known.items() if (where, called) == (namespace, name)
        )
        return self._objects.put(after)

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """Forget an event. Raises Fault NOT_FOUND."""
        event = self._found(namespace, name)
        ending.still(event)
        for said in self._said_as(namespace, name):
            self._forget(said)
        return event

    def _said_as(self, namespace: str, name: str) -> list[_Said]:
        return [said for said, (where, called, _) in self._known.items() if (where, called) == (namespace, name)]

    def _found(self, namespace: str, name: str) -> Json:
        event = self._objects.get(namespace, name)
        if event is None:
            raise Fault(Kind.NOT_FOUND, f'events "{name}"', "not found")
        return event

    async def load(self) -> None:
        """Take up what an earlier life wrote."""
        found: list[tuple[float, _Said, Json]] = []
        for stored in await self._store.list(KIND):
            for event in _decoded(stored.key, stored.value):
                try:
                    revision = int(event["metadata"].get("resourceVersion", 0))
                    said = _given(event) if stored.key.startswith(GIVEN) else _said_in(event)
                    found.append((min(_seconds(event["lastTimestamp"]), self._now()), said, event))
                except _UNREADABLE as error:
                    log.warning("a stored event cannot be read and is left out", pod=stored.key, cause=repr(error))
                else:
                    self._objects.revisions.at_least(revision)
            self._of_pod[stored.key] = {}
            self._unstored.add(stored.key)  # what is too old by now goes with the first write
        for at, said, event in sorted(found, key=lambda one: one[0]):
            self._keep(said, (event["metadata"]["namespace"], event["metadata"]["name"], at))
            self._objects.put(event)
        self._expire()

    async def work(self) -> None:
        """Store what is new and forget what is old, again and again; what is left is stored when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(STORE_EVERY)
                self._expire()
                await self._write()
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WRITE):
                    await self._write()
            raise

    async def _write(self) -> None:
        due, self._unstored = self._unstored, set()
        try:
            async with asyncio.TaskGroup() as tasks:  # the store puts what comes together into one transaction
                for uid in due:
                    tasks.create_task(self._write_one(uid))
        except asyncio.CancelledError:
            self._unstored |= due
            raise

    async def _write_one(self, uid: str) -> None:
        shown = (self._objects.get(*self._known[said][:2]) for said in self._of_pod.get(uid, ()))
        events = [event for event in shown if event is not None]
        try:
            if events:
                await self._store.put(KIND, uid, msgspec.msgpack.encode(events))
            else:
                self._of_pod.pop(uid, None)
                await self._store.delete(KIND, uid)
        except Fault as fault:
            log.warning("events of a pod are not stored yet", pod=uid, cause=str(fault))
            self._unstored.add(uid)
        except (ValueError, OverflowError, TypeError) as error:
            log.warning("events of a pod cannot be stored", pod=uid, cause=str(error))

    def _say(self, pod: Json, kind: str, reason: str, message: str, container: str) -> None:
        now = self._now()
        metadata: Json = pod["metadata"]
        uid: str = metadata["uid"]
        said, shown = self._aggregated((uid, kind, reason, message[:LONGEST_MESSAGE], container), now)
        namespace, name, _ = self._known.get(said) or (
            metadata["namespace"],
            f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
            0.0,
        )
        before = self._objects.get(namespace, name)
        if before is None:
            event = _event(pod, name, (kind, reason, shown), container, now)
        else:
            event = {**before, "message": shown, "count": int(before.get("count") or 0) + 1}
            event["lastTimestamp"] = timestamp(now)
        self._objects.put(event)
        self._keep(said, (namespace, name, now))
        self._unstored.add(uid)
        self._expire()

    def _aggregated(self, said: _Said, now: float) -> tuple[_Said, str]:
        """What the event is known by, and its message: of many that differ in the message only, the later are one."""
        uid, kind, reason, message, container = said
        if said in self._known:
            return said, message
        alike = (uid, kind, reason, container)
        times = self._alike.setdefault(alike, deque(maxlen=ALIKE))
        while times and times[0] <= now - ALIKE_WITHIN:
            times.popleft()
        if len(times) == ALIKE:
            times.append(now)
            return (uid, kind, reason, COMBINED, container), (COMBINED + message)[:LONGEST_MESSAGE]
        times.append(now)
        return said, message

    def _keep(self, said: _Said, event: tuple[str, str, float]) -> None:
        self._known.pop(said, None)
        self._known[said] = event
        of_pod = self._of_pod.setdefault(said[0], {})
        for kept in (of_pod, self._of_namespace.setdefault(event[0], {})):
            kept.pop(said, None)
            kept[said] = None
        while len(of_pod) > MOST_OF_POD:
            self._forget(next(iter(of_pod)))
        while len(self._known) > MOST_OF_ALL:
            self._forget(next(iter(max(self._of_namespace.values(), key=len))))

    def _expire(self) -> None:
        oldest = self._now() - KEPT_SECONDS
        while self._known:
            said = next(iter(self._known))
            if self._known[said][2] > oldest:
                break
            self._forget(said)

    def _forget(self, said: _Said) -> None:
        namespace, name, _ = self._known.pop(said)
        self._objects.drop(namespace, name)
        there = self._of_namespace[namespace]
        del there[said]
        if not there:
            del self._of_namespace[namespace]
        uid, kind, reason, _, container = said
        self._of_pod.get(uid, {}).pop(said, None)
        if not self._of_pod.get(uid):
            for alike in [key for key in self._alike if key[0] == uid]:
                del self._alike[alike]
        else:
            self._alike.pop((uid, kind, reason, container), None)
        self._unstored.add(uid)


def _check(event: Json) -> None:
    """Whether an event can be kept and be read again. Raises Fault INVALID."""
    about: Json = event.get("involvedObject") or {}
    for field in ("kind", "name"):
        if not about.get(field):
            raise bad_request(f"involvedObject.{field} of an event must not be empty")
    series: Json = event.get("series") or {}
    times = {field: event.get(field) for field in ("firstTimestamp", "lastTimestamp", "eventTime")}
    for field, stamp in {**times, "series.lastObservedTime": series.get("lastObservedTime")}.items():
        if stamp is not None and not _is_time(stamp):
            raise bad_request(f"{field} of an event must be a time as RFC 3339 writes it")
    if not 0 <= (event.get("count") or 0) < 2**31:
        raise bad_request("count of an event must be a whole number from 0 to 2147483647")
    try:
        msgspec.msgpack.encode(event)
    except (ValueError, OverflowError, TypeError) as error:
        raise bad_request(f"the event has a text or a number that cannot be kept: {error}") from error


def _is_time(stamp: str) -> bool:
    try:
        _seconds(stamp)
        return datetime.datetime.fromisoformat(stamp).tzinfo is not None
    except (ValueError, OverflowError, TypeError):
        return False


def _decoded(key: str, value: bytes) -> list[Json]:
    try:
        return msgspec.msgpack.decode(value, type=list[Json])
    except msgspec.DecodeError as error:
        log.warning("stored events of a pod cannot be read and are left out", pod=key, cause=str(error))
        return []


def _given(event: Json) -> _Said:
    """What an event of somebody else is known by: its own name."""
    metadata = event["metadata"]
    return (f"{GIVEN}{metadata['namespace']}/{metadata['name']}", event["type"], event["reason"], "", "")


def _said_in(event: Json) -> _Said:
    """What a stored event is known by."""
    about: Json = event["involvedObject"]
    message: str = event["message"]
    container = about.get("fieldPath", "").partition("{")[2].rstrip("}")
    return (
        about["uid"],
        event["type"],
        event["reason"],
        COMBINED if message.startswith(COMBINED) else message,
        container,
    )


def _seconds(stamp: str) -> float:
    return datetime.datetime.fromisoformat(stamp).timestamp()


def _event(pod: Json, name: str, said: Iterable[str], container: str, now: float) -> Json:
    metadata: Json = pod["metadata"]
    kind, reason, message = said
    about: Json = {
        "kind": pod.get("kind", "Pod"),
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": pod.get("apiVersion", "v1"),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if container:
        inits = {one["name"] for one in pod["spec"].get("initContainers") or ()}
        about["fieldPath"] = f"spec.{'initContainers' if container in inits else 'containers'}{{{container}}}"
    at = timestamp(now)
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": at,
        },
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "chinampa", **_host(pod)},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "eventTime": None,
        "reportingComponent": "chinampa",
        "reportingInstance": pod["spec"].get("nodeName", ""),
    }


def _host(pod: Json) -> Json:
    cell = pod["spec"].get("nodeName")
    return {"host": cell} if cell else {}
