"""Two pieces of news at once never undo each other."""

from __future__ import annotations

import asyncio
from typing import cast

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.names import CellName
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord
from hostkit.tasks import Finishing
from tests.support.memory_store import MemoryStore, remembering


class SlowStore(MemoryStore):
    """A store whose writes take a turn of the loop, as a disk's do."""

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        await asyncio.sleep(0)
        return await super().put(kind, key, value, expected=expected)


def status(state: cri.ContainerState.ValueType) -> cri.ContainerStatus:
    return cri.ContainerStatus(id="c", state=state)


async def test_the_late_answer_that_it_runs_does_not_bring_an_ended_container_back() -> None:
    async with remembering(SlowStore()) as memory:
        created = status(cri.CONTAINER_CREATED).SerializeToString()
        await memory.put_container(ContainerRecord(id="c", sandbox="s", cell=CellName("c-1"), status=created))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(memory.learn_container(status(cri.CONTAINER_EXITED)))
            tasks.create_task(memory.learn_container(status(cri.CONTAINER_RUNNING)))
        (listed,) = memory.listed_containers()
        assert listed.state == cri.CONTAINER_EXITED


async def test_late_news_of_its_creation_neither_stops_a_container_nor_starts_it_twice() -> None:
    async with remembering(SlowStore()) as memory:
        created = status(cri.CONTAINER_CREATED)
        record = ContainerRecord(id="c", sandbox="s", cell=CellName("c-1"), status=created.SerializeToString())
        await memory.put_container(record)
        heard: list[cri.ContainerEventType.ValueType] = []
        memory.listen(lambda event: heard.append(event.container_event_type))
        for news in (status(cri.CONTAINER_RUNNING), created, status(cri.CONTAINER_RUNNING)):
            await memory.learn_container(news)
        (listed,) = memory.listed_containers()
        assert listed.state == cri.CONTAINER_RUNNING
        assert heard == [cri.CONTAINER_STARTED_EVENT]


async def test_news_of_a_forgotten_container_does_not_bring_it_back() -> None:
    async with remembering(SlowStore()) as memory:
        await memory.learn_container(status(cri.CONTAINER_RUNNING))
        assert memory.listed_containers() == ()


class WrittenAndNotAnswered(MemoryStore):
    """A store whose answer to a write comes long after the write."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.answers = asyncio.Event(), asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        revision = await super().put(kind, key, value, expected=expected)
        self.written.set()
        await self.answers.wait()
        return revision


async def test_a_caller_who_gives_up_does_not_part_memory_and_store() -> None:
    store = WrittenAndNotAnswered()
    async with remembering(store) as memory, asyncio.TaskGroup() as tasks:
        record = ContainerRecord(id="c", sandbox="s", cell=CellName("c-1"), status=b"")
        asking = tasks.create_task(memory.put_container(record))
        await store.written.wait()
        asking.cancel()
        await asyncio.wait({asking})
        assert not memory.knows("c"), "it is shown before it is written down"
        store.answers.set()
        while not memory.knows("c"):
            await asyncio.sleep(0)
    again = Memory(store, cast("Finishing", None), "shim")
    await again.load()
    assert again.container("c") == record
