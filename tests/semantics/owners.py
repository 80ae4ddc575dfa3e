"""Scenarios of owners and what they own: what goes with its owner, what outlives it, what is waited for."""

from __future__ import annotations

from typing import Any

from tests.semantics.making import DEPLOYMENTS, SETS, running
from tests.semantics.planes import Json
from tests.semantics.player import Player

MAPS = "configmaps"
WAITS = "example.com/waits"


async def made(it: Player, name: str, *owners: Json, finalizers: tuple[str, ...] = (), blocks: bool = True) -> Json:
    """A ConfigMap that others own."""
    references: list[Json] = [{**owner, "blockOwnerDeletion": blocks} for owner in owners]
    metadata: Json = {"name": name, "ownerReferences": references, "finalizers": list(finalizers)}
    await it.create(MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    one: Json = await it.until(name, lambda: it.find(MAPS, name))
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": one["metadata"]["uid"]}


async def let_go(it: Player, name: str) -> None:
    """Take the finalizers off."""

    def without(one: Json) -> Json:
        metadata: dict[str, Any] = {key: value for key, value in one["metadata"].items() if key != "finalizers"}
        return {**one, "metadata": metadata}

    await it.plane.change(MAPS, name, without)


async def _ending(it: Player, name: str) -> bool:
    one = await it.find(MAPS, name)
    return bool(one and one["metadata"].get("deletionTimestamp"))


async def takes_what_it_owns_along(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "along", 2))
    pods = await it.count("along", 2)
    await it.plane.delete(DEPLOYMENTS, "along")
    await it.gone(DEPLOYMENTS, "along")
    for pod in pods:
        await it.gone("pods", pod["metadata"]["name"])
    assert not [one for one in await it.plane.list(SETS) if one["metadata"]["name"].startswith("along-")]


async def leaves_what_it_owns(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "leaves", 2))
    before = {pod["metadata"]["uid"] for pod in await it.count("leaves", 2)}
    await it.plane.delete(DEPLOYMENTS, "leaves", "Orphan")
    await it.gone(DEPLOYMENTS, "leaves")
    (held,) = [one for one in await it.plane.list(SETS) if one["metadata"]["name"].startswith("leaves-")]
    assert not held["metadata"].get("ownerReferences")
    assert {pod["metadata"]["uid"] for pod in await it.count("leaves", 2)} == before
    # A deployment with the same selector has them again.
    await it.create(DEPLOYMENTS, running("Deployment", "leaves", 2))

    async def owned() -> bool:
        one = await it.find(SETS, held["metadata"]["name"])
        owners = (one or {"metadata": {}})["metadata"].get("ownerReferences") or [{}]
        return owners[0].get("name") == "leaves"

    await it.until("the set to be adopted", owned)
    assert {pod["metadata"]["uid"] for pod in await it.count("leaves", 2)} == before


async def waits_for_who_blocks_it(it: Player) -> None:
    owner = await made(it, "before")
    await made(it, "blocks", owner, finalizers=(WAITS,))
    await made(it, "follows", owner, blocks=False)
    await it.plane.delete(MAPS, "before", "Foreground")
    await it.until("what it owns to end", lambda: _ending(it, "blocks"))
    await it.gone(MAPS, "follows")
    waiting: Json = await it.find(MAPS, "before") or {"metadata": {}}
    assert waiting["metadata"].get("finalizers") == ["foregroundDeletion"]
    await let_go(it, "blocks")
    await it.gone(MAPS, "blocks")
    await it.gone(MAPS, "before")


async def goes_when_its_owner_was_never_there(it: Player) -> None:
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "6c1a2d6e-0000-4000-8000-000000000000"}
    owner = await made(it, "somebody")
    await it.create(
        MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "ownerReferences": [nobody]}}
    )
    await it.gone(MAPS, "s")
    await made(it, "shared", owner, nobody)

    async def one_left() -> bool:
        one = await it.find(MAPS, "shared")
        assert one is not None, "who has an owner left is kept"
        return [each["name"] for each in one["metadata"]["ownerReferences"]] == ["somebody"]

    await it.until("the owner that is none to be struck out", one_left)


async def is_kept_by_a_finalizer(it: Player) -> None:
    owner = await made(it, "kept", finalizers=(WAITS,))
    await made(it, "keeps", owner)
    await it.plane.delete(MAPS, "kept")
    assert await _ending(it, "kept")
    # Whatever is owned outlives an owner that is still there.
    await it.plane.delete(MAPS, "kept")
    assert await it.find(MAPS, "keeps")
    await let_go(it, "kept")
    await it.gone(MAPS, "kept")
    await it.gone(MAPS, "keeps")


SCENARIOS = (
    *(takes_what_it_owns_along, leaves_what_it_owns, waits_for_who_blocks_it, goes_when_its_owner_was_never_there),
    is_kept_by_a_finalizer,
)
