"""A followed list is true whatever breaks: nothing that is there is missing, and nothing that is gone stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.cluster.client import EXPIRED, ApiClient
from controller.cluster.list_watch import PAGE, Follower, follow

Json = dict[str, Any]
NAMES = ("a", "b", "c")
# A change of an object, its end, a broken watch, a history that is lost, bookmarks, a refused list.
ACTIONS = st.lists(st.sampled_from([*NAMES, *(f"-{name}" for name in NAMES), "break", "forget", "bookmark", "refuse"]))


class Server:
    """An API server's list and watch of one kind, which does to its watches what `actions` say."""

    def __init__(self, actions: list[str]) -> None:
        self.objects: dict[str, Json] = {}
        self.history: list[tuple[int, Json]] = []
        self.revision = 1
        self.forgotten = 0
        self.actions = actions
        self.refuse = False
        self.over = asyncio.Event()

    def change(self, name: str) -> Json:
        self.revision += 1
        kind = "DELETED" if name.startswith("-") else "MODIFIED" if name in self.objects else "ADDED"
        name = name.removeprefix("-")
        one = {"metadata": {"name": name, "resourceVersion": str(self.revision)}}
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = one
        event = {"type": kind, "object": one}
        self.history.append((self.revision, event))
        return event

    async def get(self, path: str, **parameters: str) -> Json:
        assert parameters["limit"] == str(PAGE)
        if self.refuse:
            self.refuse = False
            raise Fault(Kind.DENIED, path, "not now")
        # One object a page.
        names = sorted(self.objects)
        at = int(parameters.get("continue") or 0)
        more = {"continue": str(at + 1)} if at + 1 < len(names) else {}
        items = [self.objects[name] for name in names[at : at + 1]]
        return {"items": items, "metadata": {"resourceVersion": str(self.revision), **more}}

    async def watch(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[Json]:
        since = int(parameters["resourceVersion"])
        if since < self.forgotten:
            raise Fault(Kind.PRECONDITION, path, "too old", reason=EXPIRED)
        for revision, event in list(self.history):
            if revision > since:
                yield event
        while self.actions:
            match self.actions.pop(0):
                case "break":
                    raise Fault(Kind.UNAVAILABLE, path, "it broke")
                case "forget":
                    # What happens while nobody watches, and is not remembered.
                    self.change("b")
                    self.change("-c")
                    self.forgotten, self.history = self.revision, []
                    return
                case "bookmark":
                    yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.revision)}}}
                case "refuse":
                    self.refuse = True
                case name:
                    yield self.change(name)
        self.over.set()
        await asyncio.Event().wait()


@given(ACTIONS)
def test_what_is_followed_is_what_is_there(actions: list[str]) -> None:
    asyncio.run(_followed(actions))


async def _followed(actions: list[str]) -> None:
    server = Server(actions)
    seen: dict[str, Json] = {}

    def name_of(one: Json) -> str:
        return one["metadata"]["name"]

    def listed(found: Any) -> None:
        seen.clear()
        seen.update({name_of(one): one for one in found})

    def changed(one: Json) -> None:
        seen[name_of(one)] = one

    def gone(one: Json) -> None:
        seen.pop(name_of(one), None)

    wanted = Follower(path="/things", parameters={}, listed=listed, changed=changed, gone=gone)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(follow(cast("ApiClient", server), wanted, pause=lambda _: 0.0))
        async with asyncio.timeout(10):
            await server.over.wait()
        work.cancel()
    assert seen == server.objects
