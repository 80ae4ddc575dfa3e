"""The workloads room: plans for each object whenever something changes, and does what the plans say; binds claims.

Nothing is kept between two passes but what is in the library, so a controller that was killed goes on from there.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from cellwire.faults import Fault, Kind
from controller.objects import protection
from controller.objects.admission import How
from controller.objects.fields import Json
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.stored import Ending
from controller.workloads import (
    binding,
    cron_jobs,
    daemon_sets,
    deployments,
    jobs,
    owner_changes,
    replica_sets,
    stateful_sets,
)
from controller.workloads.steps import Create, Delete, Mark, Plan, Renumber, ScaleReplicaSet, Step, Tell, earliest

log = structlog.get_logger()
# Changes come in swarms; one pass takes what came within this.
SETTLE = 0.02
AGAIN = 5.0
MANAGER = "chinampa-workloads"
Planner = Callable[[Json, Sequence[Json], float], Plan]
# Each kind with how it is planned for, and of which kinds the objects are that it owns.
PLANNED: Mapping[str, tuple[Planner, tuple[str, ...]]] = {
    "cronjobs.batch": (cron_jobs.plan, ("jobs.batch",)),
    "jobs.batch": (jobs.plan, ("pods",)),
    "deployments.apps": (deployments.plan, ("replicasets.apps",)),
    "replicasets.apps": (replica_sets.plan, ("pods",)),
    "replicationcontrollers": (replica_sets.plan, ("pods",)),
    "statefulsets.apps": (stateful_sets.plan, ("pods", stateful_sets.REVISION_KIND)),
    "daemonsets.apps": (daemon_sets.plan, ()),
}


class Teller(Protocol):
    """Tells of objects in events."""

    def normal(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that was to be expected."""
        ...

    def warning(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that somebody ought to look at."""
        ...


@asynccontextmanager
async def running(library: Library, teller: Teller) -> AsyncGenerator[None]:
    """Keep all workloads as they are wanted, until left; their pods run on."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_Workloads(library, teller).work())
        try:
            yield
        finally:
            work.cancel()


class _Workloads:
    def __init__(self, library: Library, teller: Teller) -> None:
        self._library = library
        self._teller = teller
        self._resources = {resource.key: resource for resource in library.resources}

    async def work(self) -> None:
        seen = 0
        while True:
            seen = self._library.revisions.last
            due = await self._pass()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._library.now())):
                    await self._library.revisions.after(seen)
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE)

    async def _pass(self) -> float | None:
        """Plan for everything and do it; when to look again at the latest."""
        due = earliest(await self._bind(), await self._adopt())
        for key, (plan, below) in PLANNED.items():
            children = self._children(below)
            for one in self._library.objects(key).list():
                mine = children.get((one["metadata"]["namespace"], one["metadata"]["uid"]), [])
                due = earliest(due, await self._one(self._resources[key], one, mine, plan))
        return due

    async def _bind(self) -> float | None:
        """Give claims their volumes; when to try again what failed."""
        claims, volumes = (self._library.objects(key).list() for key in (binding.CLAIMS, binding.VOLUMES))
        if not claims and not volumes:
            return None
        ending = list(protection.plan(claims, volumes, self._library.objects("pods").list()))
        for write in (*binding.plan(claims, volumes), *ending):
            try:
                keeper = self._library.keeper(self._resources[write.key])
                await keeper.change(write.namespace, write.name, write.applied)
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    log.warning("a claim is bound later", claim=write.name, cause=str(fault))
                return self._library.now() + AGAIN
        return None

    async def _adopt(self) -> float | None:
        """Give what nobody controls to who selects it; when to try again what failed."""
        for key, kinds in owner_changes.SELECTING.items():
            owners = self._library.objects(key).list()
            for below in kinds if owners else ():
                for one in owner_changes.plan(key, owners, below, self._library.objects(below).list()):
                    try:
                        await self._change_hands(key, one)
                    except Fault as fault:
                        if fault.kind is not Kind.NOT_FOUND:
                            log.warning("a workload gets what it selects later", name=one.name, cause=str(fault))
                        return self._library.now() + AGAIN
        return None

    async def _change_hands(self, key: str, one: owner_changes.OwnerChange) -> None:
        """The owner's deletion waits meanwhile, so that it takes or orphans all that the owner has got."""
        owners, place = self._library.objects(key), (one.namespace, one.owner["name"])
        async with owners.turn(*place):
            if one.holds(owners.get(*place)):
                await self._library.keeper(self._resources[one.key]).change(one.namespace, one.name, one.applied)

    def _children(self, keys: Sequence[str]) -> dict[tuple[str, str], list[Json]]:
        """The objects of kinds by the namespace and the uid of their controller: it owns in its namespace only."""
        found: dict[tuple[str, str], list[Json]] = {}
        for one in itertools.chain.from_iterable(self._library.objects(key).list() for key in keys):
            for owner in one["metadata"].get("ownerReferences") or ():
                if owner.get("controller"):
                    found.setdefault((one["metadata"]["namespace"], owner["uid"]), []).append(one)
        return found

    async def _one(self, resource: Resource, one: Json, mine: list[Json], plan: Planner) -> float | None:
        now = self._library.now()
        try:
            planned = plan(one, mine, now)
            if planned.status is not None and planned.status != one.get("status"):
                await self._tell_status(resource, one, planned.status)
            for step in planned.steps:
                await self._do(resource, one, step)
        except Fault as fault:
            if fault.kind is Kind.NOT_FOUND:
                return now  # it went meanwhile
            self._failed(one, str(fault))
        except Exception:
            log.exception("a workload is tried again", kind=resource.kind, name=one["metadata"]["name"])
        else:
            return planned.again
        return now + AGAIN

    def _failed(self, one: Json, why: str) -> None:
        try:
            self._teller.warning(one, "FailedCreate", why)
        except Exception:
            log.exception("what a workload failed at is not told", name=one["metadata"]["name"], cause=why)

    async def _tell_status(self, resource: Resource, one: Json, status: Json) -> None:
        """Before the steps: what was counted is written down before anything that was counted can go."""
        metadata, uid = one["metadata"], one["metadata"]["uid"]

        def change(before: Json) -> Json:
            return {**before, "status": status} if before["metadata"]["uid"] == uid else before

        await self._library.keeper(resource).change(metadata["namespace"], metadata["name"], change)

    async def _do(self, own: Resource, one: Json, step: Step) -> None:
        namespace, how = one["metadata"]["namespace"], How(manager=MANAGER)
        match step:
            case Create(key, wanted):
                await self._create(one, self._resources[key], wanted, how)
            case Delete(key, name, policy):
                try:
                    await self._library.delete(self._resources[key], namespace, name, Ending(policy=policy), how)
                except Fault as fault:
                    if fault.kind is not Kind.NOT_FOUND:
                        raise
            case ScaleReplicaSet(name, replicas, annotations):
                await self._library.change(
                    self._resources["replicasets.apps"],
                    namespace,
                    name,
                    lambda before: _scaled(before, replicas, annotations),
                    how,
                )
            case Renumber(name, number):
                resource = self._resources[stateful_sets.REVISION_KIND]
                await self._library.change(
                    resource, namespace, name, lambda before: {**before, "revision": number}, how
                )
            case Mark(name, text):
                metadata, mark = one["metadata"], {name: text}
                await self._library.keeper(own).change(
                    metadata["namespace"], metadata["name"], lambda before: _marked(before, metadata["uid"], mark)
                )
            case Tell(reason, message, warning):
                (self._teller.warning if warning else self._teller.normal)(one, reason, message)

    async def _create(self, one: Json, resource: Resource, wanted: Json, how: How) -> None:
        try:
            made = await self._library.create(resource, one["metadata"]["namespace"], wanted, how)
        except Fault as fault:
            if fault.kind is not Kind.EXISTS:
                raise
        else:
            said = f"Created {resource.kind.lower()}: {made['metadata']['name']}"
            self._teller.normal(one, "SuccessfulCreate", said)


def _marked(before: Json, uid: str, marks: Mapping[str, str]) -> Json:
    metadata: Json = before["metadata"]
    if metadata["uid"] != uid:
        return before
    return {**before, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **marks}}}


def _scaled(before: Json, replicas: int, annotations: Mapping[str, str]) -> Json:
    metadata = {**before["metadata"], "annotations": dict(annotations)} if annotations else before["metadata"]
    return {**before, "metadata": metadata, "spec": {**before["spec"], "replicas": replicas}}
