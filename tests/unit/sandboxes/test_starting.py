"""A container starts once it is stored; what its start came to is known when the call returns, by an event or by the
answer of its cell.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.model.names import CellName
from controller.sandboxes.carried import Carrier
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.following import Following
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from tests.support.memory_store import MemoryStore, remembering

CELL = CellName("c-1")
RUNS = cri.ContainerStatus(id="k", state=cri.CONTAINER_RUNNING, started_at=7)


class UnhurriedStore(MemoryStore):
    """A store whose writes take some turns of the loop."""

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        return await super().put(kind, key, value, expected=expected)


class StartingCell:
    """Starts a container; tells of it by an event too, unless its events are cut off."""

    def __init__(self, memory: Memory, tasks: asyncio.TaskGroup, *, tells: bool) -> None:
        self._memory, self._tasks, self._tells = memory, tasks, tells
        self.asked = 0

    async def start_container(self, container: str) -> None:
        del container
        await asyncio.sleep(0)
        if self._tells:
            self._tasks.create_task(self._memory.learn_container(RUNS))
            await asyncio.sleep(0)  # the event's turn, then the answer's

    async def container_status(self, container: str) -> cri.ContainerStatus:
        del container
        self.asked += 1
        return RUNS


class Unlogged:
    """Follows no log."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def start_log(self, record: ContainerRecord) -> None:
        self.begun.append(record.id)


@pytest.mark.parametrize(("tells", "asked"), [(True, 0), (False, 1)])
async def test_a_cell_is_asked_what_a_start_came_to_only_where_it_has_not_told(
    monkeypatch: pytest.MonkeyPatch,
    tells: bool,
    asked: int,
) -> None:
    async with remembering(UnhurriedStore()) as memory, asyncio.TaskGroup() as tasks:
        ready = cri.PodSandboxStatus(id="s", state=cri.SANDBOX_READY).SerializeToString()
        await memory.put_sandbox(SandboxRecord(id="s", cell=CELL, uid="u", attempt=0, config=b"", status=ready))
        created = cri.ContainerStatus(id="k", state=cri.CONTAINER_CREATED).SerializeToString()
        await memory.put_container(ContainerRecord(id="k", sandbox="s", cell=CELL, status=created))
        logs = Unlogged()
        containers = Containers(cast("Any", None), memory, cast("Following", logs), Carrier(b"key"), None)
        cell = StartingCell(memory, tasks, tells=tells)
        monkeypatch.setattr(containers, "on", lambda _: cell)

        await containers.start("k")

        assert memory.is_in("k", cri.CONTAINER_RUNNING)
        assert cell.asked == asked
        assert logs.begun == ["k"]


class FullStore(MemoryStore):
    """A store that takes no container while its disk is full, and keeps who asks waiting while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.free = asyncio.Event()
        self.free.set()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if kind.endswith("-container"):
            await self.free.wait()
            if self.full:
                raise Fault(Kind.UNAVAILABLE, "store", "no space is left on its disk")
        return await super().put(kind, key, value, expected=expected)


class BreakingStore(FullStore):
    """A store that takes a container, and breaks before it has said so."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        revision = await super().put(kind, key, value, expected=expected)
        if kind.endswith("-container"):
            raise self._error
        return revision


class StoredFirst(StartingCell):
    """Keeps which containers were stored when it was asked to start one."""

    def __init__(self, memory: Memory, tasks: asyncio.TaskGroup, store: MemoryStore) -> None:
        super().__init__(memory, tasks, tells=False)
        self._store = store
        self.started: list[tuple[str, ...]] = []

    async def start_container(self, container: str) -> None:
        self.started.append(tuple(one.key for one in await self._store.list("shim-container")))
        await super().start_container(container)


async def test_a_container_that_was_just_made_is_known_at_once_and_starts_once_it_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FullStore()
    async with remembering(store) as memory, asyncio.TaskGroup() as tasks:
        containers, cell = await made(memory, tasks, store, monkeypatch, held=True)
        assert [one.id for one in memory.listed_containers()] == ["k"]

        starting = tasks.create_task(containers.start("k"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not cell.started
        store.free.set()
        await starting

        assert cell.started == [("k",)]


async def test_a_container_that_the_store_does_not_take_is_not_started_and_not_known_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kubelet would count one that it finds made and not running as a try, and make the next beside it."""
    store = FullStore()
    async with remembering(store) as memory, asyncio.TaskGroup() as tasks:
        store.full = True
        containers, cell = await made(memory, tasks, store, monkeypatch, held=True)
        heard: list[cri.ContainerEventType.ValueType] = []
        memory.listen(lambda event: heard.append(event.container_event_type))
        starting = asyncio.create_task(containers.start("k"))
        await asyncio.sleep(0)
        store.free.set()
        with pytest.raises(Fault, match="no space is left"):
            await starting
        assert not cell.started
        assert not memory.listed_containers()
        assert heard == [cri.CONTAINER_DELETED_EVENT]
        with pytest.raises(Fault, match="there is none with this id"):
            await containers.start("k")


@pytest.mark.parametrize(
    ("error", "told"),
    [(Fault(Kind.UNAVAILABLE, "store", "it does not answer"), "it does not answer"), (KeyError(), "stored it no more")],
)
async def test_a_store_that_breaks_leaves_nobody_waiting_and_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    store = BreakingStore(error)
    async with remembering(store) as memory, asyncio.TaskGroup() as tasks:
        containers, cell = await made(memory, tasks, store, monkeypatch, held=True)
        starting = asyncio.create_task(containers.start("k"))
        await asyncio.sleep(0)
        store.free.set()
        with pytest.raises(Fault, match=told):
            await starting
        assert not cell.started
        assert not memory.listed_containers()
    assert isinstance(error, KeyError) or await store.list("shim-container") == ()


async def test_a_container_that_is_removed_while_it_is_stored_is_not_known_by_the_next_controller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FullStore()
    async with remembering(store) as memory, asyncio.TaskGroup() as tasks:
        await made(memory, tasks, store, monkeypatch, held=True)
        forgetting = tasks.create_task(memory.forget_container(memory.container("k")))
        await asyncio.sleep(0)
        store.free.set()
        await forgetting
    assert await store.list("shim-container") == ()


async def made(
    memory: Memory, tasks: asyncio.TaskGroup, store: FullStore, monkeypatch: pytest.MonkeyPatch, *, held: bool
) -> tuple[Containers, StoredFirst]:
    """A container that its cell has just made; its store takes it later where it is held."""
    ready = cri.PodSandboxStatus(id="s", state=cri.SANDBOX_READY).SerializeToString()
    await memory.put_sandbox(SandboxRecord(id="s", cell=CELL, uid="u", attempt=0, config=b"", status=ready))
    containers = Containers(cast("Any", None), memory, cast("Following", Unlogged()), Carrier(b"key"), None)
    cell = StoredFirst(memory, tasks, store)
    monkeypatch.setattr(containers, "on", lambda _: cell)
    if held:
        store.free.clear()
    created = cri.ContainerStatus(id="k", state=cri.CONTAINER_CREATED).SerializeToString()
    memory.keep_made(ContainerRecord(id="k", sandbox="s", cell=CELL, status=created))
    return containers, cell
