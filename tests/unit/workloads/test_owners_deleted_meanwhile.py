"""An owner that is deleted while it gets what it selects: it keeps what it has got, and gets no more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from controller.api.all_kinds import WORKLOADS
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import CONFIG_MAPS, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from controller.pods.kind import PODS
from controller.workloads import room as workloads
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

Json = dict[str, Any]
KINDS = {one.key: one for one in WORKLOADS}
DEPLOYMENTS, REPLICA_SETS = KINDS["deployments.apps"], KINDS["replicasets.apps"]
HOW = How(manager="test", warnings=[])
STRAYS = 20


class Slow(MemoryStore):
    """What is done to replica sets takes many turns of the loop, all else none; the third write is told of once it is
    under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.third = asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if kind == "object/replicasets.apps":
            self.written += 1
            if self.written == STRAYS + 3:
                self.third.set()
            for _ in range(50):
                await asyncio.sleep(0)
        return await super().put(kind, key, value, expected=expected)

    async def delete(self, kind: str, key: str) -> None:
        if kind == "object/replicasets.apps":
            for _ in range(50):
                await asyncio.sleep(0)
        await super().delete(kind, key)


class Silent:
    def normal(self, pod: Json, reason: str, message: str, container: str = "") -> None: ...

    def warning(self, pod: Json, reason: str, message: str, container: str = "") -> None: ...


def workload(name: str, app: str) -> Json:
    spec = {"containers": [{"name": "main", "image": "busybox:1"}]}
    template = {"metadata": {"labels": {"app": app}}, "spec": spec}
    selecting = {"replicas": 0, "selector": {"matchLabels": {"app": app}}, "template": template}
    return {"metadata": {"name": name, "labels": {"app": app}}, "spec": selecting}


def owned(found: Library, app: str) -> dict[str, bool]:
    """The names of the replica sets with a label, and whether each has an owner."""
    listed = [one["metadata"] for one in found.objects(REPLICA_SETS.key).list("default")]
    return {one["name"]: bool(one.get("ownerReferences")) for one in listed if one["labels"]["app"] == app}


async def passed(found: Library) -> None:
    """Until what was planned before is over, and then what the collector made of it."""
    await found.create(REPLICA_SETS, "default", workload("last", "last"), HOW)
    await found.create(DEPLOYMENTS, "default", workload("last", "last"), HOW)
    await until(lambda: owned(found, "last").get("last"))
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "nobody"}
    await found.create(CONFIG_MAPS, "default", {"metadata": {"name": "last", "ownerReferences": [nobody]}}, HOW)
    await until(lambda: not found.objects(CONFIG_MAPS.key).list("default"))


@pytest.mark.parametrize("policy", ["Background", "Orphan"])
async def test_an_owner_deleted_while_it_adopts_takes_what_it_has_got_or_leaves_all(policy: str) -> None:
    store = Slow()
    async with library.running(store, Sealing(bytes(32)), (*STORED, *WORKLOADS, PODS), time.time) as found:
        for number in range(STRAYS):
            await found.create(REPLICA_SETS, "default", workload(f"web-{number}", "web"), HOW)
        await found.create(DEPLOYMENTS, "default", workload("web", "web"), HOW)
        async with workloads.running(found, Silent()):
            await store.third.wait()
            await found.delete(DEPLOYMENTS, "default", "web", Ending(policy=policy), HOW)
            got = {name for name, has in owned(found, "web").items() if has}
            assert 0 < len(got) < STRAYS
            await until(lambda: found.lookup(DEPLOYMENTS.key, "default", "web") is None)
            await passed(found)
            everybody = {f"web-{number}" for number in range(STRAYS)}
            left = everybody if policy == "Orphan" else everybody - got
            assert owned(found, "web") == dict.fromkeys(left, False)
