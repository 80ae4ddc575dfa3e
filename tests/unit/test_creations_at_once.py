"""Several who create an object of one name at once: who is refused may rely on that it is there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import NAMESPACES, STORED
from controller.objects.sealing import Sealing
from tests.support.memory_store import MemoryStore

Json = dict[str, Any]
HOW = How(manager="test", warnings=[])
TEAM: Json = {"metadata": {"name": "team"}}


class Held(MemoryStore):
    """The next write of the team waits until it is told what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.outcome: asyncio.Future[None] | None = None

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if self.outcome is not None and key.endswith("team"):
            outcome, self.outcome = self.outcome, None
            self.asked.set()
            await outcome
        return await super().put(kind, key, value, expected=expected)


async def _both(store: Held, found: library.Library, becomes: Fault | None) -> tuple[Json | Fault, Json | Fault]:
    """What two are told, of whom the second comes while the first's object is being written."""

    async def create() -> Json | Fault:
        try:
            return await found.create(NAMESPACES, "", TEAM, HOW)
        except Fault as fault:
            return fault

    store.outcome = outcome = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(create())
        await store.asked.wait()
        second = tasks.create_task(create())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        if becomes is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(becomes)
    return first.result(), second.result()


async def test_who_comes_second_has_the_name_where_the_first_could_not_be_written() -> None:
    store = Held()
    async with library.running(store, Sealing(bytes(32)), STORED, time.time) as found:
        first, second = await _both(store, found, Fault(Kind.UNAVAILABLE, "store", "no answer within 15 s"))
        assert isinstance(first, Fault)
        assert not isinstance(second, Fault)
        assert found.find(NAMESPACES, "", "team")["metadata"]["uid"] == second["metadata"]["uid"]


async def test_who_comes_second_is_refused_where_the_first_was_written() -> None:
    store = Held()
    async with library.running(store, Sealing(bytes(32)), STORED, time.time) as found:
        first, second = await _both(store, found, None)
        assert not isinstance(first, Fault)
        assert isinstance(second, Fault)
        assert second.kind is Kind.EXISTS
        with pytest.raises(Fault, match="already exists"):
            await found.create(NAMESPACES, "", TEAM, HOW)
