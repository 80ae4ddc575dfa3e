"""A list that stays true: listed in pages, watched from there, resumed where the watch broke, listed anew where the
server's history is gone. Nothing is lost in between, and nothing that is gone stays.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from cellwire.faults import Fault
from controller.cluster.client import EXPIRED, ApiClient
from controller.cluster.kubeconfig import Json

log = structlog.get_logger()
PAGE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Follower(msgspec.Struct, frozen=True, kw_only=True):
    """A list that is followed, and who is told: `listed` of all objects, `changed` of one, `gone` of one."""

    path: str
    parameters: Mapping[str, str]
    listed: Callable[[Sequence[Json]], None]
    changed: Callable[[Json], None]
    gone: Callable[[Json], None]


async def follow(client: ApiClient, wanted: Follower, *, pause: Callable[[int], float] | None = None) -> None:
    """For ever. A server that refuses or cannot be reached is asked again; it is said once for each cause."""
    wait = pause or _pause
    revision, tries, said = "", 0, ""
    while True:
        try:
            if not revision:
                revision = await _list(client, wanted)
            tries, said = 0, ""
            async for event in client.watch(wanted.path, {**wanted.parameters, "resourceVersion": revision}):
                revision = _take(event, wanted) or revision
        except Fault as fault:
            if fault.reason == EXPIRED:
                revision = ""
            elif str(fault) != said:
                said = str(fault)
                log.warning("the API server is asked again", path=wanted.path, cause=said)
            tries += 1
            await asyncio.sleep(wait(tries))


def _take(event: Json, wanted: Follower) -> str:
    found: Json = event.get("object") or {}
    match event.get("type"):
        case "ADDED" | "MODIFIED":
            wanted.changed(found)
        case "DELETED":
            wanted.gone(found)
        case _:
            pass
    return str((found.get("metadata") or {}).get("resourceVersion") or "")


async def _list(client: ApiClient, wanted: Follower) -> str:
    items: list[Json] = []
    more = ""
    while True:
        parameters = {**wanted.parameters, "limit": str(PAGE), **({"continue": more} if more else {})}
        found = await client.get(wanted.path, **parameters)
        items += found.get("items") or []
        metadata: Json = found.get("metadata") or {}
        more = str(metadata.get("continue") or "")
        if not more:
            wanted.listed(items)
            return str(metadata.get("resourceVersion") or "")


def _pause(tries: int) -> float:
    return random.random() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries, 10)) + 0.1  # noqa: S311 - jitter
