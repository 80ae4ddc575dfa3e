"""What a start has made of a container is known when its call returns, by an event of the cell or by its answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
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
