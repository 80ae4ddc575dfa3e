"""Sandboxes and containers as they are remembered: read from dictionaries, written through to the store.

One owner of the state: every change goes through a method here, is stored before anyone can read it, and is told to
those who listen. A change whose caller was cancelled is finished all the same. One is read sooner: a container that its
cell has just made, see `Memory.keep_made`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import structlog

from cellwire.cri import match
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.written import Written
from controller.model.names import CellName
from controller.sandboxes import records, reducer
from controller.sandboxes.measured import Recorded
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.reducer import listed_container, listed_sandbox, next_container, with_cause
from controller.store.record_store import Store
from hostkit.tasks import Finishing, KeyedLocks

log = structlog.get_logger()
Known = TypeVar("Known", SandboxRecord, ContainerRecord)
Listener = Callable[[cri.ContainerEventResponse], None]
Answer = TypeVar("Answer", cri.ListPodSandboxResponse, cri.ListContainersResponse)
SHORTEST_PREFIX = 6
# A kubelet asks with three filters; what a person asks beside it must not pile up.
MOST_LISTS = 16


class Memory:
    """Everything that a kubelet polls, answered without a wire."""

    def __init__(self, store: Store, finishing: Finishing, owner: str) -> None:
        self._sandbox_kind, self._container_kind = records.sandboxes(owner), records.containers(owner)
        self._store = store
        self._finishing = finishing
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._containers: dict[str, ContainerRecord] = {}
        self._of_pod: dict[tuple[str, int], str] = {}
        self._of_sandbox: dict[str, dict[str, ContainerRecord]] = {}
        self._unstored: dict[str, asyncio.Future[None]] = {}
        """Containers that are known and not stored yet, each with the outcome of its write."""
        self._sandbox_entries: dict[str, cri.PodSandbox] = {}
        self._container_entries: dict[str, cri.Container] = {}
        # Answers by their filter, while nothing has changed.
        self._sandbox_lists: dict[bytes, Written[cri.ListPodSandboxResponse]] = {}
        self._container_lists: dict[bytes, Written[cri.ListContainersResponse]] = {}
        self._turns = KeyedLocks[str]()
        self._listeners: set[Listener] = set()

    async def load(self) -> None:
        """Read what an earlier life of the controller stored."""
        for stored in await self._store.list(self._sandbox_kind):
            self._keep_sandbox(msgspec.msgpack.decode(stored.value, type=SandboxRecord))
        for stored in await self._store.list(self._container_kind):
            self._keep_container(msgspec.msgpack.decode(stored.value, type=ContainerRecord))

    def sandboxes(self) -> tuple[SandboxRecord, ...]:
        """All sandbox records."""
        return tuple(self._sandboxes.values())

    def sandbox_list(self, wanted: cri.PodSandboxFilter) -> Written[cri.ListPodSandboxResponse]:
        """The answer to ListPodSandbox; kept until something changes, since a kubelet asks the same every second."""
        key = wanted.SerializeToString()
        if key not in self._sandbox_lists:
            all_of_them = self._sandbox_entries.values()
            chosen = [one for one in all_of_them if match.sandbox_matches(wanted, one)] if key else all_of_them
            _keep(self._sandbox_lists, key, cri.ListPodSandboxResponse(items=chosen))
        return self._sandbox_lists[key]

    def container_list(self, wanted: cri.ContainerFilter) -> Written[cri.ListContainersResponse]:
        """The answer to ListContainers; kept until something changes."""
        key = wanted.SerializeToString()
        if key not in self._container_lists:
            all_of_them = self._container_entries.values()
            chosen = [one for one in all_of_them if match.container_matches(wanted, one)] if key else all_of_them
            _keep(self._container_lists, key, cri.ListContainersResponse(containers=chosen))
        return self._container_lists[key]

    def listed_sandboxes(self) -> tuple[cri.PodSandbox, ...]:
        """All sandboxes as ListPodSandbox shows them."""
        return tuple(self._sandbox_entries.values())

    def listed_containers(self) -> tuple[cri.Container, ...]:
        """All containers as ListContainers shows them."""
        return tuple(self._container_entries.values())

    def listed(self, sandbox_id: str) -> Recorded:
        """A sandbox and its containers as lists show them. Raises Fault NOT_FOUND."""
        own = {name: self._container_entries[name] for name in self._of_sandbox.get(sandbox_id, ())}
        return Recorded(self._sandbox_entries[self.sandbox(sandbox_id).id], own)

    def containers_of(self, sandbox_id: str) -> tuple[ContainerRecord, ...]:
        """The records of a sandbox's containers."""
        return tuple(self._of_sandbox.get(sandbox_id, {}).values())

    def sandbox_of_cell(self, cell: CellName) -> SandboxRecord | None:
        """The sandbox that lives in a cell."""
        return next((record for record in self._sandboxes.values() if record.cell == cell), None)

    def sandbox_of_pod(self, uid: str, attempt: int) -> SandboxRecord | None:
        """The sandbox of one attempt at a pod."""
        found = self._of_pod.get((uid, attempt))
        return self._sandboxes.get(found) if found is not None else None

    def sandbox(self, sandbox_id: str) -> SandboxRecord:
        """A sandbox by id or unique prefix. Raises Fault NOT_FOUND."""
        return _find(self._sandboxes, sandbox_id, "sandbox")

    def container(self, container_id: str) -> ContainerRecord:
        """A container by id or unique prefix. Raises Fault NOT_FOUND."""
        return _find(self._containers, container_id, "container")

    async def written(self, sandbox_id: str) -> frozenset[str]:
        """The whole ids of a sandbox's containers, when those are known too whose writing has begun."""
        async with self._turn(sandbox_id):
            return frozenset(self._of_sandbox.get(sandbox_id, ()))

    def knows(self, container_id: str) -> bool:
        """Whether there is a container with this whole id."""
        return container_id in self._containers

    def knows_any(self, name: str) -> bool:
        """Whether there is a container or sandbox with this whole id."""
        return name in self._containers or name in self._sandboxes

    def owner_of(self, container_id: str) -> str | None:
        """The sandbox of the container with this whole id; None where there is no such container."""
        record = self._containers.get(container_id)
        return record.sandbox if record is not None else None

    def is_in(self, container_id: str, state: cri.ContainerState.ValueType) -> bool:
        """Whether a container is in this state, as far as is known."""
        entry = self._container_entries.get(container_id)
        return entry is not None and entry.state == state

    def log_over(self, container_id: str) -> bool:
        """Whether nothing of a container's log is to come any more: all of it is here, or nobody copies it."""
        record = self._containers.get(container_id)
        return record is None or record.log_complete

    async def put_sandbox(self, record: SandboxRecord) -> None:
        """Store a sandbox, new or changed."""
        await self._finishing.done(self._write_sandbox(record.id, lambda _: record))

    async def put_container(self, record: ContainerRecord) -> None:
        """Store a container, new or changed; listeners hear of a change of its state."""
        await self._finishing.done(self._write_container(record.id, record.sandbox, lambda _: record))

    def keep_made(self, record: ContainerRecord) -> None:
        """A container that its cell has just made is known at once and stored soon; it must not run before it is
        `stored`.

        Where the store does not take it, or this process dies before, nobody knows of it any more, as where its cell
        had not answered: it is made anew under its name.
        """
        self._keep_container(record)
        self._unstored[record.id] = asyncio.get_running_loop().create_future()
        self._announce(record.id, record.sandbox, reducer.container_events(None, record.status))
        self._finishing.soon(self._store_made(record))

    async def stored(self, container_id: str) -> None:
        """Wait until a container that was made is stored as well. Raises Fault where the store does not take it."""
        outcome = self._unstored.get(container_id)
        if outcome is not None:
            await asyncio.wait((outcome,))
            outcome.result()

    async def change_sandbox(self, sandbox_id: str, change: Callable[[SandboxRecord], SandboxRecord]) -> None:
        """Change a sandbox as it is when its turn comes: two changes at once never undo each other.

        What is forgotten meanwhile stays forgotten.
        """
        work = self._write_sandbox(sandbox_id, lambda before: change(before) if before is not None else None)
        await self._finishing.done(work)

    async def change_container(self, container_id: str, change: Callable[[ContainerRecord], ContainerRecord]) -> None:
        """Change a container as it is when its turn comes; listeners hear of a change of its state."""
        sandbox = self.owner_of(container_id)
        if sandbox is not None:
            work = self._write_container(
                container_id, sandbox, lambda before: change(before) if before is not None else None
            )
            await self._finishing.done(work)

    async def learn_container(self, news: cri.ContainerStatus) -> None:
        """What a cell says of a container."""

        def learn(record: ContainerRecord) -> ContainerRecord:
            sandbox = self._sandboxes.get(record.sandbox)
            known = cri.ContainerStatus.FromString(record.status)
            merged = next_container(known, with_cause(known, news, sandbox.interrupted if sandbox else ""))
            return msgspec.structs.replace(record, status=merged.SerializeToString())

        await self.change_container(news.id, learn)

    async def forget_container(self, record: ContainerRecord) -> None:
        """The container is removed."""
        await self._finishing.done(self._drop_container(record))

    async def forget_sandbox(self, record: SandboxRecord) -> None:
        """The sandbox is removed, its containers before it."""
        await self._finishing.done(self._drop_sandbox(record))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each container event from now on, until the returned function is called."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def _write_sandbox(self, key: str, change: Callable[[SandboxRecord | None], SandboxRecord | None]) -> None:
        async with self._turn(key):
            before = self._sandboxes.get(key)
            record = change(before)
            if record is None or record == before:
                return
            await self._store.put(self._sandbox_kind, key, msgspec.msgpack.encode(record))
            self._keep_sandbox(record)
        self._announce(key, key, reducer.sandbox_events(before.status if before else None, record.status))

    async def _write_container(
        self, key: str, sandbox: str, change: Callable[[ContainerRecord | None], ContainerRecord | None]
    ) -> None:
        async with self._turn(sandbox):
            before = self._containers.get(key)
            record = change(before)
            if record is None or record == before:
                return
            await self._store.put(self._container_kind, key, msgspec.msgpack.encode(record))
            self._no_more_unstored(key)
            self._keep_container(record)
        self._announce(key, sandbox, reducer.container_events(before.status if before else None, record.status))

    async def _store_made(self, record: ContainerRecord) -> None:
        async with self._turn(record.sandbox):
            if record.id not in self._unstored:  # it was changed, or removed, and that is stored
                return
            try:
                await self._store.put(self._container_kind, record.id, msgspec.msgpack.encode(record))
            except BaseException as error:
                cause = "this process stored it no more"
                thing = f"container {record.id[:13]}"
                fault = error if isinstance(error, Fault) else Fault(Kind.UNAVAILABLE, thing, cause, "make it anew")
                self._no_more_unstored(record.id, fault)
                self._forget_container(record)
                self._announce(record.id, record.sandbox, (cri.CONTAINER_DELETED_EVENT,))
                if error is not fault:
                    raise
                log.warning(
                    "a container is forgotten, as the store did not take it", container=record.id, cause=str(fault)
                )
                # It may have taken it all the same, and only not have told so.
                with contextlib.suppress(Fault):
                    await self._store.delete(self._container_kind, record.id)
            else:
                self._no_more_unstored(record.id)

    def _no_more_unstored(self, container_id: str, refused: Fault | None = None) -> None:
        outcome = self._unstored.pop(container_id, None)
        if outcome is None:
            return
        if refused is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(refused)
            outcome.exception()  # nobody may wait for it

    async def _drop_container(self, record: ContainerRecord) -> None:
        async with self._turn(record.sandbox):
            await self._store.delete(self._container_kind, record.id)
            self._no_more_unstored(record.id)
            known = self.knows(record.id)
            self._forget_container(record)
        if known:
            self._announce(record.id, record.sandbox, (cri.CONTAINER_DELETED_EVENT,))

    def _forget_container(self, record: ContainerRecord) -> None:
        self._containers.pop(record.id, None)
        self._of_sandbox.get(record.sandbox, {}).pop(record.id, None)
        self._container_entries.pop(record.id, None)
        self._container_lists.clear()

    async def _drop_sandbox(self, record: SandboxRecord) -> None:
        for container in self.containers_of(record.id):
            await self._drop_container(container)
        # While there is a status to tell with it.
        self._announce(record.id, record.id, (cri.CONTAINER_DELETED_EVENT,))
        async with self._turn(record.id):
            await self._store.delete(self._sandbox_kind, record.id)
            self._sandboxes.pop(record.id, None)
            self._of_sandbox.pop(record.id, None)
            if self._of_pod.get((record.uid, record.attempt)) == record.id:
                del self._of_pod[record.uid, record.attempt]
            self._sandbox_entries.pop(record.id, None)
            self._sandbox_lists.clear()

    def _turn(self, sandbox_id: str) -> asyncio.Lock:
        """Changes of one sandbox and its containers wait for each other, and for no other sandbox's."""
        return self._turns[sandbox_id]

    def _announce(self, thing: str, sandbox_id: str, kinds: Iterable[reducer.EventKind]) -> None:
        if not self._listeners:
            return
        sandbox = self._sandboxes.get(sandbox_id)
        beside = [one.status for one in self.containers_of(sandbox_id)]
        for kind in kinds:
            event = reducer.event(kind, thing, time.time_ns(), sandbox.status if sandbox else b"", beside)
            for listener in tuple(self._listeners):
                listener(event)

    def _keep_sandbox(self, record: SandboxRecord) -> None:
        self._sandboxes[record.id] = record
        self._of_pod.setdefault((record.uid, record.attempt), record.id)
        self._sandbox_lists.clear()
        self._sandbox_entries[record.id] = listed_sandbox(cri.PodSandboxStatus.FromString(record.status))

    def _keep_container(self, record: ContainerRecord) -> None:
        self._containers[record.id] = record
        self._of_sandbox.setdefault(record.sandbox, {})[record.id] = record
        status = cri.ContainerStatus.FromString(record.status)
        self._container_lists.clear()
        self._container_entries[record.id] = listed_container(status, record.sandbox)


def _keep(lists: dict[bytes, Written[Answer]], key: bytes, answer: Answer) -> None:
    if len(lists) >= MOST_LISTS:
        lists.clear()
    lists[key] = Written.of(answer)


def _find(known: dict[str, Known], wanted: str, what: str) -> Known:
    if wanted in known:
        return known[wanted]
    found = [record for key, record in known.items() if len(wanted) >= SHORTEST_PREFIX and key.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    cause = "several have ids that begin so" if found else "there is none with this id"
    raise Fault(Kind.NOT_FOUND, f"{what} {wanted or '(no id given)'}", cause)
