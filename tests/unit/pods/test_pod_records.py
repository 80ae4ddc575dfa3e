"""Pods as they are remembered: the object as it was written, decoded once for each change of what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from cellwire.faults import Fault
from controller.model.names import CellName
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.fields import copied
from controller.pods.pod_records import KIND, PodRecords
from controller.pods.run import PodRecord, PodRun
from hostkit.tasks import Finishing
from tests.support.memory_store import MemoryStore

NOW = 1_000.0
# As a person wrote it: in an order of its own, with a field that only a later version knows, nothing filled in.
POD: dict[str, Any] = {
    "metadata": {"uid": "u", "name": "web", "namespace": "default", "labels": {"app": "x"}, "annotations": None},
    "spec": {"volumes": None, "novel": {"b": 1, "a": None}, "containers": [{"image": "i", "name": "web", "env": None}]},
}


@asynccontextmanager
async def records(store: MemoryStore) -> AsyncGenerator[PodRecords]:
    async with asyncio.TaskGroup() as tasks:
        yield PodRecords(store, Objects(RevisionCounter(1)), Finishing(tasks), lambda: NOW)


def known(room: PodRecords) -> PodRecord:
    record = room.get("u")
    assert record is not None
    return record


async def stored(pod: dict[str, Any], run: PodRun | None = None) -> MemoryStore:
    """A store as an earlier version left it."""
    store = MemoryStore()
    old = {"pod": copied(pod), "run": msgspec.to_builtins(run or PodRun())}
    await store.put(KIND, "u", msgspec.msgpack.encode(old))
    return store


async def test_what_a_person_wrote_is_shown_as_it_was_written_and_read_as_it_is_meant() -> None:
    store = MemoryStore()
    async with records(store) as room:
        shown = await room.create(copied(POD))
        assert json.dumps(shown["spec"]) == json.dumps(POD["spec"]), "neither order nor unknown fields are lost"
        spec = known(room).pod.spec
        assert (spec.volumes, spec.containers[0].env, known(room).pod.metadata.annotations) == ((), (), {})
    async with records(store) as later:
        assert await later.load() == ["u"]
        assert json.dumps(known(later).shown["spec"]) == json.dumps(POD["spec"])
        assert known(later).pod.spec == spec


async def test_a_change_of_the_run_or_of_a_label_decodes_the_spec_no_second_time() -> None:
    async with records(MemoryStore()) as room:
        await room.create(copied(POD))
        await room.run("u", lambda run: replace(run, cell=CellName("c-1"), shown={"chinampa.dev/zone": "z"}))
        spec = known(room).pod.spec
        assert spec.nodeName == "c-1"
        assert known(room).pod.metadata.annotations == {"chinampa.dev/zone": "z"}
        await room.run("u", lambda run: replace(run, sandbox="s"))
        await room.change("u", lambda pod: {**pod, "metadata": {**pod["metadata"], "labels": {"app": "y"}}})
        assert known(room).pod.spec is spec
        assert known(room).pod.metadata.labels == {"app": "y"}


async def test_a_change_that_cannot_be_decoded_changes_nothing() -> None:
    store = MemoryStore()
    async with records(store) as room:
        await room.create(copied(POD))
        before, held = known(room), dict(store.records)
        with pytest.raises(Fault, match=r"default/web.*cannot be read: Expected `array`"):
            await room.change("u", lambda pod: {**pod, "spec": {**pod["spec"], "volumes": "none"}})
        assert known(room) == before
        assert store.records == held


async def test_a_record_that_cannot_be_decoded_says_why_and_its_pod_can_still_end() -> None:
    broken = {**POD, "spec": {"containers": [{"name": 7, "image": "i"}]}, "status": {"phase": "Running", "podIP": "x"}}
    store = await stored(broken, PodRun(cell=CellName("c-1")))
    async with records(store) as room:
        assert await room.load() == ["u"]
        why = known(room).unreadable
        assert why is not None
        assert "default/web" in str(why)
        assert "delete the pod" in str(why)
        assert known(room).pod.metadata.name == "web"
        await room.change("u", lambda pod: {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "t"}})
        await room.run("u", lambda run: replace(run, phase="Failed"))
        shown = known(room).shown
        assert shown["status"] == {"phase": "Failed", "podIP": "x"}
        assert shown["metadata"]["deletionTimestamp"] == "t"
        mended = [{"name": "web", "image": "i"}]
        await room.change("u", lambda pod: {**pod, "spec": {**pod["spec"], "containers": mended}})
        assert known(room).unreadable is None
        assert known(room).pod.spec.containers[0].name == "web"
