"""A log's copy that has ended before the log is no complete one: it is begun again while the cell is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.sandboxes import owned
from controller.sandboxes.carried import Carrier
from controller.sandboxes.following import Following
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.ways import Ways
from tests.support.memory_store import remembering

CELL = CellName("c-1")


class Refusing:
    """Copies no log for as long as it is told to; all that is not asked of it hangs."""

    def __init__(self) -> None:
        self.refuses = True
        self.hindered = ""
        self.copies = 0

    async def copy(self, channel: Any, container_id: str, path: Path, *, follow: bool, grown: Any) -> None:
        self.copies += 1
        if self.hindered:
            await asyncio.Event().wait()
        if self.refuses:
            raise Fault(Kind.BROKEN, f"log {path}", "it cannot be written")

    def hindrance(self, container_id: str) -> str:
        return self.hindered.strip()

    def reopen(self, container_id: str) -> None: ...

    async def connected(self, cell: CellName) -> None:
        await asyncio.Event().wait()

    def get(self, cell: CellName) -> Cell:
        return Cell(name=cell, state=CellState.CLAIMED, demand=Demand(cpu_millis=1, memory_mib=1))


@asynccontextmanager
async def followed(grace: float = 60.0) -> AsyncGenerator[tuple[Following, Memory, Refusing]]:
    """A sandbox with a container that runs, whose log's copy has failed once."""
    refusing = Refusing()
    async with remembering() as memory:
        sandbox = SandboxRecord(id="s", cell=CELL, uid="u", attempt=0, config=b"", status=b"")
        await memory.put_sandbox(sandbox)
        status = cri.ContainerStatus(id="k", state=cri.CONTAINER_RUNNING).SerializeToString()
        await memory.put_container(ContainerRecord(id="k", sandbox="s", cell=CELL, status=status, log_path="/l/0.log"))
        double = cast("Any", refusing)
        async with asyncio.TaskGroup() as tasks:
            following = Following(tasks, double, memory, Ways(Carrier(b"key"), mirror=double, log_grace=grace))
            following.start(sandbox)
            while not refusing.copies:
                await asyncio.sleep(0)
            yield following, memory, refusing
            await following.close()


async def test_who_waits_for_a_log_has_its_failed_copy_begun_again() -> None:
    async with followed() as (following, memory, refusing):
        refusing.refuses = False
        await following.logs_complete("s")
        assert memory.container("k").log_complete


async def test_a_failed_copy_counts_as_lost_bytes_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async with followed() as (following, memory, _):
        await following.logs_complete("s")
        assert not memory.container("k").log_complete
    said = capsys.readouterr().out
    assert "log bytes are lost" in said
    assert said.count("it cannot be written") > 1


async def test_a_store_that_takes_no_writes_for_a_while_does_not_end_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned, "SHORTEST_PAUSE", 0.0)
    async with followed() as (following, memory, refusing):
        refusing.refuses, change, refused = False, memory.change_container, 0

        async def refusing_first(container_id: str, how: Any) -> None:
            nonlocal refused
            refused += 1
            if refused == 1:
                raise Fault(Kind.UNAVAILABLE, "store etcd", "database space exceeded")
            await change(container_id, how)

        monkeypatch.setattr(memory, "change_container", refusing_first)
        await following.log_complete("k")
        assert memory.container("k").log_complete


@pytest.mark.parametrize(
    ("hindered", "cause"),
    [("log /l/0.log: No space left on device", "No space left"), (" ", "the cell did not send the last ones in time")],
)
async def test_a_log_that_is_late_when_its_cell_goes_is_told_with_what_held_it_up(
    capsys: pytest.CaptureFixture[str], hindered: str, cause: str
) -> None:
    async with followed(0.01) as (following, _, refusing):
        refusing.hindered = hindered
        await following.logs_complete("s")
    said = capsys.readouterr().out
    assert "log bytes may be missing" in said
    assert cause in said


async def test_a_kubelet_that_misses_the_file_of_a_failed_copy_has_it_begun_again() -> None:
    async with followed() as (following, memory, refusing):
        refusing.refuses = False
        following.reopen_log("k")
        await following.log_complete("k")
        assert refusing.copies == 2
        assert memory.container("k").log_complete


async def test_a_complete_log_is_not_copied_again() -> None:
    async with followed() as (following, _, refusing):
        refusing.refuses = False
        for _ in range(3):
            await following.log_complete("k")
        assert refusing.copies == 2
