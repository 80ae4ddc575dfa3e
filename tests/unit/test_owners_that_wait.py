"""What goes with its owner, and when an owner goes that waits for it, while users change their minds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import CONFIG_MAPS, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

Json = dict[str, Any]
HOW = How(manager="test", warnings=[])


class Slow(MemoryStore):
    """Removals take many turns of the loop, and are told of when the first is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def delete(self, kind: str, key: str) -> None:
        self.begun.set()
        for _ in range(50):
            await asyncio.sleep(0)
        await super().delete(kind, key)


@asynccontextmanager
async def objects(store: MemoryStore | None = None) -> AsyncGenerator[Library]:
    async with library.running(store or MemoryStore(), Sealing(bytes(32)), STORED, time.time) as found:
        yield found


async def made(found: Library, name: str, *owners: Json, **metadata: Any) -> Json:
    """A config map, as its dependents name it."""
    references = [{**one, "blockOwnerDeletion": True} for one in owners]
    given = {"metadata": {"name": name, "ownerReferences": references, **metadata}}
    made = await found.create(CONFIG_MAPS, "default", given, HOW)
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"]}


def there(found: Library) -> dict[str, list[str]]:
    """The names of all config maps, and of the owners of each."""
    listed = [one["metadata"] for one in found.objects(CONFIG_MAPS.key).list("default")]
    return {one["name"]: [owner["name"] for owner in one.get("ownerReferences") or ()] for one in listed}


class Held(MemoryStore):
    """Writes end when they are let, and are told of when they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.begun = "", asyncio.Event()
        self.let = asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if key == self.held:
            self.begun.set()
            await self.let.wait()
        return await super().put(kind, key, value, expected=expected)


async def test_what_has_another_owner_too_holds_nobody_back_and_stays() -> None:
    async with objects() as found:
        await made(found, "c", await made(found, "a"), await made(found, "b"))
        await found.delete(CONFIG_MAPS, "default", "a", Ending(policy="Foreground"), HOW)
        await until(lambda: "a" not in there(found))
        assert there(found) == {"b": [], "c": ["b"]}


async def test_a_user_who_takes_a_reference_off_lets_the_owner_go() -> None:
    async with objects() as found:
        await made(found, "c", await made(found, "a"), finalizers=["example.com/waits"])
        await found.delete(CONFIG_MAPS, "default", "a", Ending(policy="Foreground"), HOW)
        await until(lambda: found.find(CONFIG_MAPS, "default", "c")["metadata"].get("deletionTimestamp"))
        assert there(found) == {"a": [], "c": ["a"]}

        def free(one: Json) -> Json:
            return {**one, "metadata": {**one["metadata"], "ownerReferences": []}}

        await found.change(CONFIG_MAPS, "default", "c", free, HOW)
        await until(lambda: there(found) == {"c": []})


async def test_an_owner_that_is_not_there_is_none_for_what_names_it_later_too() -> None:
    async with objects() as found:
        gone, _ = await made(found, "a"), await made(found, "c")
        await made(found, "b", gone)
        await found.delete(CONFIG_MAPS, "default", "a", Ending(), HOW)
        await until(lambda: there(found) == {"c": []})

        def names(one: Json) -> Json:
            return {**one, "metadata": {**one["metadata"], "ownerReferences": [gone]}}

        await found.change(CONFIG_MAPS, "default", "c", names, HOW)
        await until(lambda: not there(found))


async def test_what_a_user_frees_of_its_owner_while_others_are_collected_stays() -> None:
    store = Slow()
    async with objects(store) as found:
        gone = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"}
        async with asyncio.TaskGroup() as tasks:
            for number in range(9):
                tasks.create_task(made(found, f"c{number}", gone))
        await store.begun.wait()

        def free(one: Json) -> Json:
            return {**one, "metadata": {**one["metadata"], "ownerReferences": []}}

        await found.change(CONFIG_MAPS, "default", "c8", free, HOW)
        await made(found, "later", gone)
        await until(lambda: there(found) == {"c8": []})


async def test_what_is_freed_of_its_owner_while_its_collection_waits_for_that_stays() -> None:
    store = Held()
    async with objects(store) as found:
        owner = await made(found, "a")
        await made(found, "c", owner)
        store.held = "default/c"

        def free(one: Json) -> Json:
            return {**one, "metadata": {**one["metadata"], "ownerReferences": []}}

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(found.change(CONFIG_MAPS, "default", "c", free, HOW))
            await store.begun.wait()
            # The collection of what "a" owned is planned now, and waits for the write.
            await found.delete(CONFIG_MAPS, "default", "a", Ending(), HOW)
            await until(lambda: found.objects(CONFIG_MAPS.key).turn("default", "c").locked())
            for _ in range(50):
                await asyncio.sleep(0)
            store.let.set()
        await made(found, "last")
        await made(found, "b", owner)
        await until(lambda: "b" not in there(found))
        assert there(found) == {"c": [], "last": []}


async def test_a_deletion_of_one_object_does_not_take_another_that_got_its_name_meanwhile() -> None:
    store = Held()
    async with objects(store) as found:
        uid = (await made(found, "a"))["uid"]
        store.held = "default/a"

        def noted(one: Json) -> Json:
            return {**one, "data": {"a": "1"}}

        version = found.find(CONFIG_MAPS, "default", "a")["metadata"]["resourceVersion"]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(found.change(CONFIG_MAPS, "default", "a", noted, HOW))
            await store.begun.wait()
            wanted = {"uid": uid, "resourceVersion": version}
            ending = tasks.create_task(_refused(found.delete(CONFIG_MAPS, "default", "a", Ending(), HOW, wanted)))
            for _ in range(50):
                await asyncio.sleep(0)
            store.let.set()
        assert (await ending).reason == "Conflict"
        assert found.find(CONFIG_MAPS, "default", "a")["data"] == {"a": "1"}


async def _refused(doing: Awaitable[Any]) -> Fault:
    with pytest.raises(Fault) as refused:
        await doing
    return refused.value


async def test_a_name_is_taken_until_a_creation_is_over_whose_caller_went_away() -> None:
    store = Held()
    async with objects(store) as found:
        store.held = "default/a"
        creation = asyncio.create_task(made(found, "a"))
        await store.begun.wait()
        creation.cancel()
        await asyncio.wait([creation])
        assert creation.cancelled()
        another = asyncio.create_task(_refused(made(found, "a")))
        store.let.set()
        assert (await another).kind is Kind.EXISTS
        assert "a" in there(found)
