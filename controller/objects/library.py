"""All objects by kind, and the one way in which each is created, changed and deleted, whoever wants it.

The rules that every kind has in common are here: a dry run writes nothing, a namespace must be there, preconditions
hold, a manager's fields are kept book of, and what is owned goes with its owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.objects import admission, collecting, managed, namespace_lifecycle
from controller.objects.admission import How
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.fields import Cause, Invalid, Json
from controller.objects.kinds import NAMESPACES, SERVICE_ACCOUNTS
from controller.objects.namespace_lifecycle import Namespaces
from controller.objects.resource import Resource
from controller.objects.sealing import Sealing
from controller.objects.stored import Change, Ending, Keeper, ObjectStore
from controller.objects.timestamps import timestamp
from controller.store.record_store import Store
from hostkit.tasks import Finishing

log = structlog.get_logger()
AGAIN = 5.0
# Their keeper bounds them, and forgets the oldest.
EVENTS = "events"
# Looks before a creation: raises where it is not to be.
Guard = Callable[[Resource, str, Json, How], None]


class Library:
    """All objects."""

    def __init__(
        self, store: Store, revisions: RevisionCounter, finishing: Finishing, now: Callable[[], float]
    ) -> None:
        self.store = store
        self.revisions = revisions
        self.now = now
        self._finishing = finishing
        self.guards: list[Guard] = []
        self._resources: dict[str, Resource] = {}
        self._keepers: dict[str, Keeper] = {}
        self._coming: dict[str, dict[tuple[str, str], Json]] = {}
        self._decided: dict[tuple[str, str, str], asyncio.Event] = {}

    @property
    def resources(self) -> Sequence[Resource]:
        """All kinds that are kept."""
        return tuple(self._resources.values())

    def keep(self, resource: Resource, keeper: Keeper) -> None:
        """From now on this keeper has the objects of the kind."""
        self._resources[resource.key] = resource
        self._keepers[resource.key] = keeper

    def keeper(self, resource: Resource) -> Keeper:
        """The keeper of the objects of a kind."""
        return self._keepers[resource.key]

    def objects(self, key: str) -> Objects:
        """The objects of a kind, by its name with its group."""
        return self._keepers[key].objects

    def lookup(self, key: str, namespace: str, name: str) -> Json | None:
        """One object by the name of its kind with its group; None where it is not there."""
        return self.objects(key).get(namespace, name)

    def find(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object. Raises Fault NOT_FOUND."""
        found = self.keeper(resource).objects.get(namespace, name)
        if found is None:
            raise Fault(Kind.NOT_FOUND, f'{resource.key} "{name}"', "not found")
        return found

    def prepared(self, resource: Resource, namespace: str, given: Json, how: How) -> Json:
        """The object as it would be created. Raises Invalid and Fault."""
        one = admission.fresh(resource, admission.read(resource, given, how), namespace, self.now())
        if resource.subresource("status") is not None or resource.name == "pods":
            one = admission.without(one, "status")
        one = admission.checked(resource, one, None, how)
        if resource.namespaced:
            self._inhabitable(resource, namespace, one["metadata"]["name"])
        if self.keeper(resource).objects.get(namespace, one["metadata"]["name"]) is not None:
            raise Fault(Kind.EXISTS, f'{resource.key} "{one["metadata"]["name"]}"', "already exists")
        for guard in self.guards:
            guard(resource, namespace, one, how)
        return admission.sized(resource, one)

    async def create(self, resource: Resource, namespace: str, given: Json, how: How) -> Json:
        """Create an object. Raises Invalid, Fault NOT_FOUND (its namespace), EXISTS and DENIED."""
        while True:
            one = self.prepared(resource, namespace, given, how)
            one = managed.updated(None, one, resource.shape, how.manager, resource.api_version, timestamp(self.now()))
            if how.dry_run:
                return one
            metadata = one["metadata"]
            other = self._decided.get((resource.key, metadata.get("namespace", ""), metadata["name"]))
            if other is None:
                return await self._made(resource, one)
            # Another is just getting the name, which is not sure before it is written down.
            await other.wait()

    async def _made(self, resource: Resource, one: Json) -> Json:
        """Have a new object kept. While it is being written, it is there for who counts; who wants its name waits."""
        coming, metadata = self._coming.setdefault(resource.key, {}), one["metadata"]
        place = metadata.get("namespace", ""), metadata["name"]
        coming[place] = one
        decided = self._decided[resource.key, *place] = asyncio.Event()

        async def kept() -> Json:
            try:
                return await self.keeper(resource).create(one)
            finally:
                del coming[place], self._decided[resource.key, *place]
                decided.set()

        return await self._finishing.done(kept())

    def there(self, resource: Resource, namespace: str) -> list[Json]:
        """The objects of a kind in a namespace, those too that are being written just now."""
        objects = self.keeper(resource).objects
        coming = self._coming.get(resource.key, {})
        new = [one for place, one in coming.items() if place[0] == namespace and objects.get(*place) is None]
        return [*objects.list(namespace), *new]

    def count(self, namespace: str) -> int:
        """How many objects of all kinds a namespace has ("": those of none), with those that are being written."""
        kept = [(key, keeper.objects) for key, keeper in self._keepers.items() if key != EVENTS]
        coming = sum(
            place[0] == namespace and objects.get(*place) is None
            for key, objects in kept
            for place in self._coming.get(key, ())
        )
        return coming + sum(objects.count(namespace) for _, objects in kept)

    def _inhabitable(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.objects(NAMESPACES.key).get("", namespace)
        if found is None:
            raise Fault(Kind.NOT_FOUND, f'namespaces "{namespace}"', "not found")
        if found["status"]["phase"] == "Terminating":
            cause = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Fault(Kind.DENIED, f'{resource.key} "{name}"', cause)

    async def change(self, resource: Resource, namespace: str, name: str, change: Change, how: How) -> Json:
        """Change an object by a function of what it is. Raises Invalid, Fault NOT_FOUND, and Conflict."""

        def admitted(before: Json) -> Json:
            wanted = admission.read(resource, change(before), how)
            after = admission.carried(resource, before, wanted, how)
            if how.subresource != "status":
                after = admission.checked(resource, after, before, how)
            entries = managed.chosen(before, wanted, how.subresource)
            if admission.same(before, after) and entries == (before["metadata"].get("managedFields") or []):
                return before
            at = timestamp(self.now())
            own = how.manager, resource.api_version, at, how.subresource
            booked = {**before, "metadata": {**before["metadata"], "managedFields": entries}}
            return admission.sized(resource, managed.updated(booked, after, resource.shape, *own))

        return await self._changed(resource, namespace, name, admitted, how)

    async def apply(
        self, resource: Resource, namespace: str, name: str, config: Json, how: How, *, force: bool
    ) -> tuple[Json, bool]:
        """Server-side apply; with whether the object was created. Raises Conflict with every disputed field."""
        config = admission.read(resource, {**config, "metadata": {**(config.get("metadata") or {}), "name": name}}, how)
        if (config["metadata"].get("managedFields") or None) is not None:
            why = Cause("metadata.managedFields", "FieldValueInvalid", "Invalid value: must be nil")
            raise Invalid(name, [why], resource.kind, resource.group)
        at, version = timestamp(self.now()), resource.api_version

        def admitted(before: Json) -> Json:
            sent = config["metadata"]
            admission.preconditions(resource, before, sent.get("uid"), sent.get("resourceVersion"))
            wanted, conflicts = managed.applied(before, config, resource.shape, how.manager, version, at, force=force)
            if conflicts:
                raise disputed(conflicts)
            entries = wanted["metadata"]["managedFields"]
            carried = admission.carried(resource, before, admission.without(wanted, "status"), how)
            after = admission.checked(resource, carried, before, how)
            booked = {**after, "metadata": {**after["metadata"], "managedFields": entries}}
            unchanged = admission.same(before, after) and _held(before) == _held(booked)
            return before if unchanged else admission.sized(resource, booked)

        if self.keeper(resource).objects.get(namespace, name) is None:
            one = self.prepared(resource, namespace, config, how)
            one, _ = managed.applied(one, config, resource.shape, how.manager, version, at, force=True)
            return one if how.dry_run else await self._made(resource, one), True
        return await self._changed(resource, namespace, name, admitted, how), False

    async def _changed(self, resource: Resource, namespace: str, name: str, change: Change, how: How) -> Json:
        if how.dry_run:
            return change(self.find(resource, namespace, name))
        return await self._finishing.done(self.keeper(resource).change(namespace, name, change))

    async def delete(
        self, resource: Resource, namespace: str, name: str, ending: Ending, how: How, wanted: Json | None = None
    ) -> Json:
        """Delete an object, or begin to; `wanted` are preconditions. Raises Fault NOT_FOUND, DENIED and Conflict."""
        found = self.find(resource, namespace, name)
        conditions = wanted or {}

        def still(one: Json) -> None:
            admission.preconditions(resource, one, conditions.get("uid"), conditions.get("resourceVersion"))

        still(found)
        if how.dry_run:
            return found
        ending = msgspec.structs.replace(ending, still=still)
        return await self._finishing.done(self.keeper(resource).end(namespace, name, ending))

    def everything(self, namespace: str = "") -> Iterator[tuple[Resource, Json]]:
        """All objects that can be deleted, or those of a namespace."""
        for key, resource in self._resources.items():
            if "delete" in resource.verbs and (resource.namespaced or not namespace):
                yield from ((resource, one) for one in self._keepers[key].objects.list(namespace))


def _held(one: Json) -> list[Json]:
    listed = one["metadata"].get("managedFields") or []
    return [{key: value for key, value in entry.items() if key != "time"} for entry in listed]


def disputed(conflicts: Sequence[managed.Conflict]) -> Invalid:
    """The conflicts of an apply, each with its field."""
    causes = [
        Cause(
            managed.written(one.path),
            "FieldManagerConflict",
            f'conflict with "{one.manager}" using {one.version}',
        )
        for one in conflicts
    ]
    if len(conflicts) == 1:
        listed = f'conflict with "{conflicts[0].manager}": {managed.written(conflicts[0].path)}'
    else:
        listed = "\n".join(
            f'conflicts with "{manager}":\n' + "\n".join(f"- {managed.written(one.path)}" for one in group)
            for manager, group in itertools.groupby(conflicts, key=lambda one: one.manager)
        )
    fault = Invalid("", causes, "")
    fault.reason = "Conflict"
    fault.cause = f"Apply failed with {len(causes)} conflict{'s' * (len(causes) > 1)}: {listed}"
    return fault


@asynccontextmanager
async def running(
    store: Store, sealing: Sealing, resources: Sequence[Resource], now: Callable[[], float]
) -> AsyncGenerator[Library]:
    """Keep all objects of these kinds, those of an earlier life too; who keeps others says so by `keep`."""
    revisions = RevisionCounter(int(now() * 1000))
    tasks = asyncio.TaskGroup()
    library = Library(store, revisions, Finishing(tasks), now)
    namespaces = Namespaces(store, revisions, now)
    library.keep(NAMESPACES, namespaces)
    for resource in resources:
        stored = ObjectStore(resource, store, revisions, sealing, now)
        await stored.load()
        library.keep(resource, stored)
    await namespaces.load()
    async with tasks:
        work = [tasks.create_task(_furnish(library)), tasks.create_task(_keep_tidy(library, namespaces))]
        try:
            yield library
        finally:
            for task in work:
                task.cancel()


async def _furnish(library: Library) -> None:
    """Each namespace has an account for its pods."""
    how = How(manager="chinampa")
    seen = 0
    while True:
        for one in library.objects(NAMESPACES.key).list():
            name, phase = one["metadata"]["name"], one["status"]["phase"]
            if phase == "Active" and library.objects(SERVICE_ACCOUNTS.key).get(name, "default") is None:
                with contextlib.suppress(Fault):
                    await library.create(SERVICE_ACCOUNTS, name, {"metadata": {"name": "default"}}, how)
        seen = await library.revisions.after(seen)


async def _keep_tidy(library: Library, namespaces: Namespaces) -> None:
    """Delete what has lost its last owner or its namespace, and end what waited for what it owned."""
    seen = 0
    while True:
        before, seen = seen, await library.revisions.after(seen)
        try:
            if _concerning(library, before):
                await _tidy(library, namespaces)
        except Fault as fault:
            log.warning("what nobody owns is not deleted yet", cause=str(fault))
            await asyncio.sleep(AGAIN)
            seen = 0


def _concerning(library: Library, since: int) -> bool:
    """Whether anything ended, or has other owners than before, or owners that wait for it no longer."""
    try:
        return any(
            change.type == "DELETED"
            or change.object["metadata"].get("deletionTimestamp")
            or _owners(change.object) != _owners(change.before)
            for resource in library.resources
            for change in library.keeper(resource).objects.changes(since)
        )
    except Fault:
        return True  # so much happened that it is not known any more what


def _stands(planned: Json, now: Json) -> None:
    """Raises Fault NOT_FOUND for an object that is not in the case that its step was planned for any more; what took it
    out of that has a pass follow.
    """
    before, after = planned["metadata"], now["metadata"]
    ending = bool(after.get("deletionTimestamp"))
    same = before["uid"] == after["uid"] and _owners(planned) == _owners(now)
    if not same or (ending and before.get("finalizers") != after.get("finalizers")):
        raise Fault(Kind.NOT_FOUND, f'"{after["name"]}"', "it is another than when its collection was planned")


def _released(planned: Json, now: Json) -> Json:
    _stands(planned, now)
    return collecting.released(now)


def _owners(one: Json | None) -> list[Json]:
    return (one["metadata"].get("ownerReferences") if one else None) or []


async def _tidy(library: Library, namespaces: Namespaces) -> None:
    everything = [(resource.key, one) for resource, one in library.everything()]
    ending = {one["metadata"]["name"] for one in namespaces.objects.list() if one["status"]["phase"] == "Terminating"}
    by_key = {resource.key: resource for resource in library.resources}
    planned = {(key, one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for key, one in everything}
    for step in collecting.plan(everything, ending):
        resource = by_key[step.key]
        keeper = library.keeper(resource)
        place = step.namespace, step.name
        try:
            match step.what:
                case "delete":
                    still = partial(_stands, planned[step.key, *place])
                    await keeper.end(*place, Ending(policy=step.policy, still=still))
                case "release":
                    await keeper.change(*place, partial(_released, planned[step.key, *place]))
                case "disown":
                    await keeper.change(step.namespace, step.name, partial(collecting.disowned, uid=step.owner))
                case _:
                    await namespaces.gone(step.name)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
    for name in ending:
        if namespaces.objects.get("", name) is not None:
            left = [(resource.key, one) for resource, one in library.everything(name)]
            await namespaces.change("", name, partial(namespace_lifecycle.with_remains, left=left, now=library.now()))
