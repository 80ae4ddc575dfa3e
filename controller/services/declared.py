"""Services where there is no cluster: those that users declare here get an address, endpoints from the pods that they
select, and a place in the book, from which cells are told.

Whatever is done is done again from what the library holds, so a controller that was killed goes on from there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog

from cellwire.faults import Fault, Kind
from controller.objects.admission import How
from controller.objects.collection import Objects
from controller.objects.fields import Invalid, Json, Report
from controller.objects.kinds import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.stored import Change as Changing
from controller.objects.stored import Ending, Keeper
from controller.services import cluster_ips, endpoints, model
from controller.services.book import Book
from controller.services.cluster_ips import Ranges
from controller.services.model import Key
from controller.services.observed import EndpointSources

log = structlog.get_logger()
# Changes come in swarms; one pass takes what came within this.
SETTLE = 0.02
AGAIN = 5.0
# Services whose endpoints are written at the same time: the store commits them together.
AT_ONCE = 64
MANAGER = "chinampa-services"
PODS = "pods"


class Addressed:
    """Keeps Services by another keeper, and gives each the addresses that it is dialled by."""

    def __init__(self, inner: Keeper, ranges: Ranges, draw: Callable[[int], int] = secrets.randbelow) -> None:
        self._inner = inner
        self._ranges = ranges
        self._draw = draw
        self._promised: dict[str, int] = {}

    @property
    def objects(self) -> Objects:
        """See Keeper."""
        return self._inner.objects

    async def create(self, new: Json) -> Json:
        """See Keeper. Raises Invalid for an address that cannot be had."""
        new = self._addressed(new, None)
        try:
            return await self._inner.create(new)
        finally:
            self._kept(new)

    async def change(self, namespace: str, name: str, change: Changing) -> Json:
        """See Keeper. Raises Invalid for an address that cannot be had."""
        made: list[Json] = []

        def changed(before: Json) -> Json:
            made.append(self._addressed(change(before), before))
            return made[-1]

        try:
            return await self._inner.change(namespace, name, changed)
        finally:
            for one in made:
                self._kept(one)

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """See Keeper."""
        return await self._inner.end(namespace, name, ending)

    def _addressed(self, service: Json, before: Json | None) -> Json:
        service = cluster_ips.kept(service, before, self._ranges)
        metadata = service["metadata"]
        own = metadata.get("namespace", ""), metadata["name"]
        others = (one for one in self.objects.list() if model.key_of(one) != own)
        taken = {address for one in others for address in cluster_ips.held(one)} | self._promised.keys()
        report = Report()
        cluster_ips.check(service, before, self._ranges, taken, report)
        if report.causes:
            raise Invalid(metadata["name"], report.causes, SERVICES.kind)
        if cluster_ips.needed(service, self._ranges):
            service = cluster_ips.given(service, self._ranges, taken, self._draw)
        for address in cluster_ips.held(service):
            self._promised[address] = self._promised.get(address, 0) + 1
        return service

    def _kept(self, service: Json) -> None:
        """What is promised to a Service that is being written is no longer needed: it is written, or is not."""
        for address in cluster_ips.held(service):
            if (count := self._promised.get(address, 0)) > 1:
                self._promised[address] = count - 1
            else:
                self._promised.pop(address, None)


@asynccontextmanager
async def running(library: Library, book: Book, ranges: Ranges, listed: Callable[[], None]) -> AsyncGenerator[None]:
    """Keep the book, and the endpoints of Services, as users and pods have them; `listed` is called once they are."""
    library.keep(SERVICES, keeper := Addressed(library.keeper(SERVICES), ranges))
    for one in [one for one in keeper.objects.list() if cluster_ips.needed(one, ranges)]:
        await keeper.change(one["metadata"]["namespace"], one["metadata"]["name"], lambda same: same)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_Declared(library, book).work(listed), name="endpoints of Services")
        try:
            yield
        finally:
            work.cancel()


class _Declared:
    def __init__(self, library: Library, book: Book) -> None:
        self._library = library
        self._book = book
        self._due: set[Key] = set()
        self._observed = EndpointSources((), (), ())

    async def work(self, listed: Callable[[], None]) -> None:
        seen = self._library.revisions.last
        self._all()
        await self._pass()
        while True:
            before, seen = seen, self._library.revisions.last
            self._note(before)
            listed()
            await self._pass()
            await self._news(seen)

    async def _news(self, seen: int) -> None:
        """Return when anything has changed, or what failed is to be tried again."""
        try:
            async with asyncio.timeout(AGAIN if self._due else None):
                await self._library.revisions.after(seen)
            await asyncio.sleep(SETTLE)
        except TimeoutError:
            return

    def _all(self) -> None:
        """From the beginning: the book is made anew, and each Service looked at."""
        services, slices = self._objects(SERVICES.key).list(), self._objects(ENDPOINT_SLICES.key).list()
        self._observed = EndpointSources(services, self._objects(PODS).list(), slices)
        self._book.replace(map(_read, services), map(model.slice_of, slices))
        self._due |= {model.key_of(one) for one in (*services, *self._objects(ENDPOINTS.key).list())}
        self._due |= {model.slice_of(one).service for one in slices}

    def _note(self, since: int) -> None:
        """Put into the book what has changed, and find the Services whose endpoints may have."""
        kinds = (SERVICES.key, ENDPOINT_SLICES.key, ENDPOINTS.key, PODS)
        try:
            services, slices, written, pods = (self._objects(key).changes(since) for key in kinds)
        except Fault:
            self._all()  # so much happened that it is not known any more what
            return
        for change in services:
            key = model.key_of(change.object)
            if change.type == "DELETED":
                self._book.drop_service(key)
            else:
                self._book.put_service(_read(change.object))
            self._due.add(key)
        for change in slices:
            one = model.slice_of(change.object)
            if change.type == "DELETED":
                self._book.drop_slice(one.key)
            else:
                self._book.put_slice(one)
            self._due.add(one.service)
        self._due |= {model.key_of(change.object) for change in written}
        self._observed.services_changed(services)
        self._observed.slices_changed(slices)
        self._due.update(self._observed.pods_changed(pods))

    async def _pass(self) -> None:
        """Write the endpoints of each Service that is due."""
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for key in sorted(self._due):
                tasks.create_task(self._written(key, room))

    async def _written(self, key: Key, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self._one(key)
            except Fault as fault:
                # It went meanwhile, or its namespace goes, or somebody has such an object: a change of it tells.
                if fault.kind not in {Kind.NOT_FOUND, Kind.EXISTS, Kind.DENIED}:
                    log.warning("endpoints of a Service are written later", service="/".join(key), cause=str(fault))
                    return
            except Exception:
                log.exception("endpoints of a Service are written later", service="/".join(key))
                return
            self._due.discard(key)

    async def _one(self, key: Key) -> None:
        namespace, name = key
        service, ours = self._observed.service(key), self._observed.slices(key)
        written = self._objects(ENDPOINTS.key).get(namespace, name)
        own = written is not None and (written["metadata"].get("labels") or {}).get(endpoints.ENDPOINTS_LABEL)
        if service is None or service["spec"].get("type") == "ExternalName":
            await self._do(ENDPOINT_SLICES, namespace, endpoints.EndpointChanges(delete=_names(ours)))
            await self._do(ENDPOINTS, namespace, endpoints.EndpointChanges(delete=(name,) if own else ()))
        elif not service["spec"].get("selector"):
            await self._do(ENDPOINTS, namespace, endpoints.EndpointChanges(delete=(name,) if own else ()))
            theirs = None if own else written
            await self._do(ENDPOINT_SLICES, namespace, endpoints.mirrored(service, theirs, ours))
        else:
            found = endpoints.members(service, self._observed.pods(namespace))
            await self._do(ENDPOINT_SLICES, namespace, endpoints.slices(service, found, ours))
            wanted = endpoints.endpoints(service, found)
            if written is None:
                await self._do(ENDPOINTS, namespace, endpoints.EndpointChanges(create=(wanted,)))
            elif endpoints.content(written) != endpoints.content(wanted):
                await self._do(ENDPOINTS, namespace, endpoints.EndpointChanges(change=(wanted,)))

    async def _do(self, resource: Resource, namespace: str, plan: endpoints.EndpointChanges) -> None:
        how = How(manager=MANAGER)
        for one in plan.create:
            await self._library.create(resource, namespace, one, how)
        for one in plan.change:
            await self._library.change(resource, namespace, one["metadata"]["name"], _into(one), how)
        for name in plan.delete:
            await self._library.delete(resource, namespace, name, Ending(), how)

    def _objects(self, key: str) -> Objects:
        return self._library.objects(key)


def _read(service: Json) -> model.ServiceEntry:
    return model.inside(model.service_of(service))


def _into(wanted: Json) -> Changing:
    """The object that is there, saying what this one says."""

    def change(before: Json) -> Json:
        kept = {name: text for name, text in before.items() if name not in ("endpoints", "ports", "subsets")}
        metadata = {**before["metadata"], "annotations": {}, **wanted["metadata"]}
        return {**kept, **wanted, "metadata": metadata}

    return change


def _names(listed: Iterable[Json]) -> tuple[str, ...]:
    return tuple(one["metadata"]["name"] for one in listed)
