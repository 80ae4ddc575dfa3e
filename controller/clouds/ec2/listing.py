"""All our instances, by one tag, in pages; never one call an instance.

Each is told under the client token that it was launched for.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from controller.clouds.ec2 import describe, form, roster
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.settings import TAG_BATCH, TAG_CLUSTER, TAG_TOKEN, Ec2Settings
from controller.model.instance import Instance, InstanceState
from controller.model.names import InstanceId

_PAGE = 1000
# EC2's most for one filter.
_MOST_VALUES = 200
# How long an instance that no list shows any more keeps its token: EC2 tells of an ended one for an hour.
_REMEMBERED_SECONDS = 3600.0
# What was launched a moment ago may be missing from a list.
_PAUSES = (0.0, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 3.0)


class Listing:
    """What is known of instances. `named` is told of instances whose token only their batch's roster says."""

    def __init__(
        self, settings: Ec2Settings, calls: Calls, named: Callable[[InstanceId, dict[str, str]], None]
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._named = named
        self.deals = roster.Deals()
        self._known: dict[InstanceId, Instance] = {}
        self._seen_at: dict[InstanceId, float] = {}
        self._parts: dict[InstanceId, tuple[str, ...]] = {}
        self._listed: tuple[Instance, ...] = ()
        self._begun = float("-inf")
        self._turn = asyncio.Lock()
        self._looked_for: set[str] = set()

    async def all(self, since: float | None = None) -> tuple[Instance, ...]:
        """Every instance of the cluster, from a list that was begun after `since` (monotonic; now). Raises Fault."""
        since = time.monotonic() if since is None else since
        async with self._turn:
            if self._begun < since:
                begun = time.monotonic()
                tag = {"Name": f"tag:{TAG_CLUSTER}", "Values": [self._settings.cluster]}
                self._listed = self.absorb(await self._described([tag]))
                self._begun = begun
                self._forget(begun)
            return self._listed

    def find(self, token: str) -> Instance | None:
        """The instance of a token, as last seen; None where it is not known, or not with its addresses."""
        instance = self.deals.instance_of(token)
        return self._known.get(instance) if instance is not None else None

    def lacking(self, instance: InstanceId, tags: Mapping[str, str]) -> dict[str, str]:
        """Which of these tags the instance had not, or otherwise, when it was last seen; none where it is unknown."""
        known = self._known.get(instance)
        if known is None:
            return {}
        return {key: value for key, value in form.fitting(tags).items() if known.tags.get(key) != value}

    def parts(self, instance: InstanceId) -> tuple[str, ...]:
        """The instance's volumes and interfaces, as last seen."""
        return self._parts.get(instance, ())

    async def look_up(self, batch: str, tokens: Iterable[str]) -> None:
        """Learn the addresses of what a batch launched; EC2 may take seconds to tell. Raises Fault."""
        wanted = [token for token in tokens if self.deals.instance_of(token) is not None]
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            if all(complete(self.find(token)) for token in wanted):
                return
            await self._look_up_together(batch, wanted)

    async def _look_up_together(self, batch: str, tokens: Sequence[str]) -> None:
        """Look a batch up, together with those that came while another look or list was under way."""
        self._looked_for.add(batch)
        try:
            async with self._turn:
                if batch not in self._looked_for or all(complete(self.find(token)) for token in tokens):
                    return  # somebody's look was for this one too
                together = sorted(self._looked_for)[:_MOST_VALUES]
                if batch not in together:
                    together[-1] = batch
                found = await self._described([{"Name": f"tag:{TAG_BATCH}", "Values": together}])
                self._looked_for.difference_update(together)
                self.absorb(found)
        finally:
            self._looked_for.discard(batch)

    def absorb(self, described: Iterable[dict[str, Any]]) -> tuple[Instance, ...]:
        """Take in descriptions: who is whose, and what they look like."""
        entries = list(described)
        self._deal(entries)
        now = time.monotonic()
        found: list[Instance] = []
        for entry in entries:
            instance = describe.instance_of(entry, self.deals.token_of(InstanceId(str(entry["InstanceId"]))))
            before = self._known.get(instance.id)
            if before is not None and not complete(instance):
                # An ended instance has no addresses any more.
                instance = msgspec.structs.replace(instance, address=before.address, pod_address=before.pod_address)
            self._known[instance.id] = instance
            self._parts[instance.id] = describe.parts_of(entry)
            self._seen_at[instance.id] = now
            found.append(instance)
        return tuple(found)

    def _deal(self, entries: Iterable[dict[str, Any]]) -> None:
        batches: dict[str, tuple[tuple[str, ...], list[InstanceId]]] = {}
        members: defaultdict[str, list[InstanceId]] = defaultdict(list)
        for entry in entries:
            tags, instance = describe.tags_of(entry), InstanceId(str(entry["InstanceId"]))
            if token := tags.get(TAG_TOKEN):
                self.deals.know(token, instance)
            if batch := tags.get(TAG_BATCH):
                members[batch].append(instance)
                batches[batch] = (roster.read(tags), members[batch])
        for tokens, instances in batches.values():
            for token, instance in self.deals.deal(tokens, instances):
                self._named(instance, {TAG_TOKEN: token})

    async def _described(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        pages = self._calls.pages("ec2", "DescribeInstances", "Reservations", Filters=filters, MaxResults=_PAGE)
        async for reservation in pages:
            found.extend(reservation.get("Instances") or ())
        return found

    def _forget(self, now: float) -> None:
        for instance, seen in list(self._seen_at.items()):
            if now - seen > _REMEMBERED_SECONDS:
                del self._seen_at[instance]
                self._known.pop(instance, None)
                self._parts.pop(instance, None)
                self.deals.forget(instance)


def complete(instance: Instance | None) -> bool:
    """Whether all is known that a cell's record needs; an ended instance has no more to tell."""
    if instance is None:
        return False
    return bool(instance.address and instance.pod_address) or instance.state is InstanceState.TERMINATED
