"""Events are aggregated, bounded, expire, and outlive the controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.stored import Ending
from controller.pods import events
from controller.pods.events import Recorder
from tests.support.memory_store import MemoryStore


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    @asynccontextmanager
    async def life(self) -> AsyncGenerator[tuple[Recorder, Objects]]:
        """A life of a controller, ended as by SIGTERM."""
        objects = Objects(RevisionCounter(int(self.at * 1000)))
        recorder = Recorder(objects, self.store, self.now)
        await recorder.load()
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(recorder.work())
            await asyncio.sleep(0)
            try:
                yield recorder, objects
            finally:
                work.cancel()


def pod(name: str = "web", namespace: str = "default") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c"}]}}


def told(objects: Objects) -> list[tuple[str, str, int]]:
    listed = sorted(objects.list(), key=lambda event: int(event["metadata"]["resourceVersion"]))
    return [(event["reason"], event["message"], event["count"]) for event in listed]


async def test_events_are_there_after_a_restart_and_go_on_being_counted() -> None:
    world = World()
    async with world.life() as (recorder, objects):
        recorder.normal(pod(), "Pulled", "an image", "c")
        recorder.warning(pod(), "BackOff", "crashed", "c")
        recorder.warning(pod(), "BackOff", "crashed", "c")
        first = objects.list()
    world.at += 60
    async with world.life() as (recorder, objects):
        assert told(objects) == [("Pulled", "an image", 1), ("BackOff", "crashed", 2)]
        assert {event["metadata"]["uid"] for event in objects.list()} == {event["metadata"]["uid"] for event in first}
        recorder.warning(pod(), "BackOff", "crashed", "c")
        recorder.once(pod(), "Launched", "c-1")
    async with world.life() as (recorder, objects):
        recorder.once(pod(), "Launched", "c-1")
        assert told(objects) == [("Pulled", "an image", 1), ("BackOff", "crashed", 3), ("Launched", "c-1", 1)]


async def test_an_hour_after_it_was_last_said_an_event_is_gone_from_the_store_too() -> None:
    world = World()
    async with world.life() as (recorder, objects):
        recorder.normal(pod(), "Old", "old")
        recorder.normal(pod(), "Again", "said twice")
        world.at += 3000
        recorder.normal(pod(), "Again", "said twice")
        world.at += 700
        recorder.normal(pod("other"), "New", "new")
        assert [reason for reason, _, _ in told(objects)] == ["Again", "New"]
    world.at += 3600
    async with world.life() as (_, objects):
        assert told(objects) == []
    assert await world.store.list(events.KIND) == ()


async def test_much_that_is_alike_is_told_in_one_event() -> None:
    world = World()
    async with world.life() as (recorder, objects):
        for number in range(30):
            recorder.warning(pod(), "Failed", f"error {number}")
        recorder.warning(pod(), "Other", "of another reason")
        found = told(objects)
        assert len(found) == 12
        combined = ("Failed", "(combined from similar events): error 29", 20)
        assert found[-2:] == [combined, ("Other", "of another reason", 1)]
        world.at += 601
        recorder.warning(pod(), "Failed", "much later")
        assert told(objects)[-1] == ("Failed", "much later", 1)
    async with world.life() as (recorder, objects):
        assert combined in told(objects)


async def test_the_oldest_events_give_way_to_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_OF_POD", 3)
    monkeypatch.setattr(events, "MOST_OF_ALL", 5)
    world = World()
    async with world.life() as (recorder, objects):
        for number in range(5):
            recorder.normal(pod("a"), f"R{number}", "m")
        assert [reason for reason, _, _ in told(objects)] == ["R2", "R3", "R4"]
        for name in "bcd":
            recorder.normal(pod(name), "New", "m")
        assert [reason for reason, _, _ in told(objects)] == ["R3", "R4", "New", "New", "New"]


async def test_the_many_events_of_one_namespace_push_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_OF_ALL", 5)
    world = World()
    async with world.life() as (recorder, objects):
        recorder.normal(pod("quiet", "theirs"), "Pulled", "m")
        for number in range(50):
            recorder.normal(pod(f"loud-{number}"), f"R{number}", "m")
            metadata = {"namespace": "default", "name": f"told-{number}"}
            await recorder.create(given(metadata=metadata, reason="Told"))
        assert [reason for reason, _, _ in told(objects)] == ["Pulled", "R48", "Told", "R49", "Told"]


async def test_a_crash_loses_what_was_not_stored_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STORE_EVERY", 0.0)
    world = World()
    async with world.life() as (recorder, _):
        recorder.normal(pod(), "Stored", "m")
        while not await world.store.list(events.KIND):
            await asyncio.sleep(0)
        objects = Objects(RevisionCounter(1))
        await Recorder(objects, world.store, world.now).load()
        assert told(objects) == [("Stored", "m", 1)]


async def test_a_store_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STORE_EVERY", 0.0)
    world = World()
    put, refused = world.store.put, list[str]()

    async def refuse_once(kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if not refused:
            refused.append(key)
            raise Fault(Kind.UNAVAILABLE, "store", "no space is left")
        return await put(kind, key, value, expected=expected)

    monkeypatch.setattr(world.store, "put", refuse_once)
    async with world.life() as (recorder, _):
        recorder.normal(pod(), "Stored", "m")
        while not await world.store.list(events.KIND):
            await asyncio.sleep(0)
    assert refused == ["uid-web"]


async def test_writes_follow_pods_and_seconds_not_events() -> None:
    world = World()
    async with world.life() as (recorder, _):
        for _ in range(500):
            recorder.warning(pod(), "BackOff", "crashed")
    assert world.store.revision == 1


async def test_an_event_that_is_deleted_is_gone_from_the_store_too() -> None:
    world = World()
    async with world.life() as (recorder, objects):
        recorder.normal(pod("a", "gone"), "R", "m")
        recorder.normal(pod("b"), "R", "m")
        (event,) = objects.list("gone")
        await recorder.end("gone", event["metadata"]["name"], Ending())
        assert [event["metadata"]["namespace"] for event in objects.list()] == ["default"]
    assert [stored.key for stored in await world.store.list(events.KIND)] == ["uid-b"]


async def test_what_others_tell_is_kept_over_a_restart_too() -> None:
    world = World()
    async with world.life() as (recorder, _):
        await recorder.create(given())
    async with world.life() as (_, objects):
        assert [event["metadata"]["name"] for event in objects.list()] == ["e"]


def given(**fields: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "default", "name": "web"}
    return {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": about, **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"lastTimestamp": "garbage"},
        {"firstTimestamp": "2026-11-28"},
        {"series": {"count": 2, "lastObservedTime": "soon"}},
        {"involvedObject": {}},
        {"message": "\ud800"},
        {"count": 10**26},
        {"series": {"count": 10**26}},
    ],
)
async def test_an_event_that_could_not_be_kept_is_refused_and_not_shown(fields: dict[str, Any]) -> None:
    world = World()
    async with world.life() as (recorder, objects):
        with pytest.raises(Fault, match="event"):
            await recorder.create(given(**fields))
        assert told(objects) == []
        await recorder.create(given(reason="Fit", lastTimestamp=None))
        with pytest.raises(Fault, match="event"):
            await recorder.change("default", "e", lambda before: {**before, **fields})
        assert told(objects) == [("Fit", "", 1)]
    async with world.life() as (_, objects):
        assert told(objects) == [("Fit", "", 1)]


async def test_an_event_whose_count_was_taken_away_goes_on_being_counted() -> None:
    world = World()
    async with world.life() as (recorder, objects):
        recorder.warning(pod(), "BackOff", "crashed")
        name = objects.list()[0]["metadata"]["name"]
        await recorder.change("default", name, lambda before: {**before, "count": None})
        recorder.warning(pod(), "BackOff", "crashed")
        assert told(objects) == [("BackOff", "crashed", 2)]


async def test_what_cannot_be_read_of_the_stored_events_is_left_out_and_what_cannot_be_stored_ends_nothing() -> None:
    world = World()
    async with world.life() as (recorder, _):
        recorder.normal(pod(), "Pulled", "an image")
        recorder.normal(pod("other"), "Pulled", "a name that is no text: \ud800")
    garbage = [given(type="Normal", reason="", lastTimestamp="garbage"), {"metadata": {}}]
    await world.store.put(events.KIND, "given/default/e", msgspec.msgpack.encode(garbage))
    await world.store.put(events.KIND, "uid-third", b"\xc1")
    async with world.life() as (_, objects):
        assert told(objects) == [("Pulled", "an image", 1)]
