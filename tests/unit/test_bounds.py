"""However many objects somebody makes, a namespace keeps so many as are set, and says so."""

from __future__ import annotations

import asyncio

import pytest

from cellwire.faults import Fault, Kind
from controller.objects import library, quotas
from controller.objects.admission import How
from controller.objects.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, STORED
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from tests.support.memory_store import MemoryStore


async def made(held: Library, resource: Resource, name: str, namespace: str = "default") -> str:
    """Why it was refused; "" where it was made."""
    try:
        await held.create(resource, namespace, {"metadata": {"name": name}}, How(manager="test", warnings=[]))
    except Fault as fault:
        assert fault.kind is Kind.DENIED
        return f"{fault.cause}; {fault.mend}"
    return ""


@pytest.mark.parametrize("order", ["at once", "in turn"])
async def test_a_namespace_has_no_more_objects_than_are_set_and_gets_room_by_deletions(order: str) -> None:
    async with library.running(MemoryStore(), Sealing(bytes(32)), STORED, lambda: 1e9) as held:
        while held.count("default") < 1:  # its account
            await asyncio.sleep(0)
        quotas.bound(held, 4)
        kinds = [(CONFIG_MAPS, "a"), (SECRETS, "a"), (CONFIG_MAPS, "b"), (SECRETS, "b"), (CONFIG_MAPS, "c")]
        if order == "at once":
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(made(held, *one)) for one in kinds]
            said = [task.result() for task in asked]
        else:
            said = [await made(held, *one) for one in kinds]
        refused = [one for one in said if one]
        assert len(refused) == 2
        assert "the namespace default has 4 objects, as many as there may be (api.most_objects)" in refused[0]
        assert "delete some" in refused[0]
        there = next(one for one in kinds if held.keeper(one[0]).objects.get("default", one[1]))
        await held.delete(there[0], "default", there[1], Ending(), How(manager="test", warnings=[]))
        assert not await made(held, CONFIG_MAPS, "d")


async def test_what_is_in_no_namespace_is_bounded_too_and_without_a_bound_there_is_none() -> None:
    async with library.running(MemoryStore(), Sealing(bytes(32)), STORED, lambda: 1e9) as held:
        quotas.bound(held, 0)
        assert [await made(held, CONFIG_MAPS, f"c{number}") for number in range(9)] == [""] * 9
        quotas.bound(held, held.count("") + 1)
        assert not await made(held, NAMESPACES, "one", "")
        assert "outside namespaces" in await made(held, NAMESPACES, "two", "")
