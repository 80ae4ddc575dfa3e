"""Objects of one kind as the API shows them: in memory, with resource versions and a history that watches read.

A watch holds no queue of its own: it reads the shared history at its own pace, and one that falls behind what is kept
is told so (410, Expired) and lists anew.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Iterator

import msgspec

from cellwire.faults import Fault, Kind
from controller.objects.fields import Json
from hostkit.tasks import KeyedLocks

KEPT_CHANGES = 4096


class ObjectChange(msgspec.Struct, frozen=True):
    """One change: ADDED, MODIFIED or DELETED; the object after it (for DELETED its last form) and before it."""

    type: str
    revision: int
    object: Json
    before: Json | None = None


class RevisionCounter:
    """One rising number for all kinds. Starts from the clock, so that a restart never goes back."""

    def __init__(self, start: int) -> None:
        self.last = start
        self._changed = asyncio.Event()

    def next(self) -> int:
        """The next revision."""
        self.last += 1
        self._changed.set()
        self._changed = asyncio.Event()
        return self.last

    async def after(self, seen: int) -> int:
        """The last revision, once it is a later one than was seen."""
        while self.last <= seen:
            await self._changed.wait()
        return self.last

    def at_least(self, seen: int) -> None:
        """Never answer less than what was seen."""
        self.last = max(self.last, seen)


class Objects:
    """The objects of one kind by (namespace, name). Values are never changed in place."""

    def __init__(self, revisions: RevisionCounter) -> None:
        self.revisions = revisions
        self._objects: dict[tuple[str, str], Json] = {}
        self._counts: dict[str, int] = {}
        # In order, so that a list, or a piece of one, is cut out and nothing is sorted.
        self._places: list[tuple[str, str]] = []
        self._history: deque[ObjectChange] = deque(maxlen=KEPT_CHANGES)
        self._forgotten = revisions.last
        self._changed = asyncio.Event()
        self._turns = KeyedLocks[tuple[str, str]]()

    def turn(self, namespace: str, name: str) -> asyncio.Lock:
        """The lock under which the keeper of a stored kind writes an object: who else holds it has it stay as it is."""
        return self._turns[namespace, name]

    def get(self, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str = "") -> list[Json]:
        """All objects, or those of a namespace, by name."""
        return list(self.after(("", ""), namespace))

    def after(self, place: tuple[str, str], namespace: str = "") -> Iterator[Json]:
        """The objects that come after a place (namespace, name), of all namespaces or of one, by name.

        For one step of the loop only: it does not outlast a change.
        """
        first = bisect.bisect_right(self._places, max(place, (namespace, "")))
        for index in range(first, len(self._places)):
            at = self._places[index]
            if namespace and at[0] != namespace:
                return
            yield self._objects[at]

    def count(self, namespace: str) -> int:
        """How many objects there are in a namespace."""
        return self._counts.get(namespace, 0)

    def put(self, new: Json) -> Json:
        """Show an object, which gets the next resource version."""
        metadata: Json = new["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        before = self._objects.get(key)
        revision = self.revisions.next()
        new = {**new, "metadata": {**metadata, "resourceVersion": str(revision)}}
        self._objects[key] = new
        if before is None:
            self._counts[key[0]] = self._counts.get(key[0], 0) + 1
            bisect.insort(self._places, key)
        self._note(ObjectChange("MODIFIED" if before else "ADDED", revision, new, before))
        return new

    def drop(self, namespace: str, name: str) -> None:
        """Show an object no longer; the unknown is no error."""
        before = self._objects.pop((namespace, name), None)
        if before is not None:
            del self._places[bisect.bisect_left(self._places, (namespace, name))]
            self._counts[namespace] -= 1
            if not self._counts[namespace]:
                del self._counts[namespace]
            revision = self.revisions.next()
            last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(revision)}}
            self._note(ObjectChange("DELETED", revision, last, before))

    def _note(self, change: ObjectChange) -> None:
        if len(self._history) == KEPT_CHANGES:
            self._forgotten = self._history[0].revision
        self._history.append(change)
        self._changed.set()
        self._changed = asyncio.Event()

    def changes(self, since: int) -> list[ObjectChange]:
        """The changes after revision `since`. Raises Fault with reason Expired where they are no longer known."""
        if since < self._forgotten:
            raise expired(since, self._forgotten)
        newer = itertools.takewhile(lambda change: change.revision > since, reversed(self._history))
        return list(newer)[::-1]

    async def changed(self, since: int) -> None:
        """Return once there is a change after revision `since`."""
        while not self._history or self._history[-1].revision <= since:
            await self._changed.wait()


def expired(since: int, oldest: int) -> Fault:
    """The history asked for is no longer known."""
    return Fault(Kind.PRECONDITION, "watch", f"too old resource version: {since} ({oldest})", reason="Expired")
