"""Namespaces that several write at once: what one wrote stands, and what is gone stays away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cellwire.faults import Fault, Kind
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import NAMESPACES, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from tests.support.memory_store import MemoryStore

Json = dict[str, Any]
HOW = How(manager="test", warnings=[])


class Slow(MemoryStore):
    """Writes of namespaces take many turns of the loop, and their removal none."""

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        for _ in range(20 if kind == "namespace" else 0):
            await asyncio.sleep(0)
        return await super().put(kind, key, value, expected=expected)


async def labelled(found: Library, label: str) -> None:
    def change(one: Json) -> Json:
        labels = {**one["metadata"]["labels"], label: "x"}
        return {**one, "metadata": {**one["metadata"], "labels": labels}}

    await found.change(NAMESPACES, "", "team", change, HOW)


async def test_who_writes_a_namespace_beside_others_undoes_nothing_of_theirs() -> None:
    async with library.running(Slow(), Sealing(bytes(32)), STORED, time.time) as found:
        await found.create(NAMESPACES, "", {"metadata": {"name": "team", "finalizers": ["example.com/waits"]}}, HOW)
        async with asyncio.TaskGroup() as tasks:
            for label in ("a", "b", "c"):
                tasks.create_task(labelled(found, label))
            tasks.create_task(found.delete(NAMESPACES, "", "team", Ending(), HOW))
        team = found.find(NAMESPACES, "", "team")
        assert {"a", "b", "c"} < team["metadata"]["labels"].keys()
        assert team["metadata"]["deletionTimestamp"]


async def test_a_namespace_that_has_gone_is_not_brought_back_by_who_was_changing_it() -> None:
    async with library.running(Slow(), Sealing(bytes(32)), STORED, time.time) as found:
        await found.create(NAMESPACES, "", {"metadata": {"name": "team"}}, HOW)
        since = found.revisions.last
        await found.delete(NAMESPACES, "", "team", Ending(), HOW)
        number = 0
        try:
            while True:
                await labelled(found, f"l{(number := number + 1)}")
        except Fault as fault:
            assert fault.kind is Kind.NOT_FOUND
        told = [one.type for one in found.objects(NAMESPACES.key).changes(since)]
        assert told == ["MODIFIED"] * (len(told) - 1) + ["DELETED"]


async def test_of_two_who_create_a_namespace_at_once_one_is_told_that_it_is_there() -> None:
    said: list[str] = []

    async def create(found: Library) -> None:
        try:
            said.append((await found.create(NAMESPACES, "", {"metadata": {"name": "team"}}, HOW))["metadata"]["uid"])
        except Fault as fault:
            assert fault.kind is Kind.EXISTS

    async with library.running(Slow(), Sealing(bytes(32)), STORED, time.time) as found:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(create(found))
        assert said == [found.find(NAMESPACES, "", "team")["metadata"]["uid"]]
