"""One launching call, made exactly once.

A call whose answer is lost is kept and repeated as it was, with its token, before anything else is launched for the
same cells. What a former life of the controller launched is found in a list by the rosters in tags. So a repeated
request is the instance that the first one launched; and should EC2's list be late in showing one, that instance belongs
to no cell, cannot join, and is ended as an orphan.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import TAG_BATCH, TAG_TOKEN, Ec2Settings
from controller.clouds.ec2.instances import roster
from controller.clouds.ec2.instances.instance_list import InstanceList
from controller.clouds.ec2.instances.tagging import Tagging
from controller.clouds.ec2.launch import launch_spec
from controller.clouds.ec2.tags import digest, tag_specifications
from controller.clouds.protocol import LaunchRequest
from controller.model.names import InstanceId
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()
# So long after the start, what is asked for may have been launched by a former life and not be listed yet.
_YOUNG_SECONDS = 60.0
# EC2 has carried a call with this token out before, but not with these parameters, or what that launched has ended.
_USED_TOKEN = frozenset({"IdempotentParameterMismatch", "IdempotentInstanceTerminated"})
_PAUSE = 1.0
_MOST_IN_VAIN = 10_000


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A launching call to be made: for these requests by token, the `count`th that is made for them."""

    action: str
    parameters: dict[str, Any]
    requests: Mapping[str, LaunchRequest]
    tokens: tuple[str, ...]
    count: int


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One launching call, to be repeated to the letter."""

    action: str
    parameters: dict[str, Any]
    batch: str
    tokens: tuple[str, ...]


class Sender:
    """See the module."""

    def __init__(self, settings: Ec2Settings, calls: Calls, listing: InstanceList, naming: Tagging) -> None:
        self._settings = settings
        self._calls = calls
        self._listing = listing
        self._naming = naming
        self._opened = time.monotonic()
        self._open: dict[str, Sent] = {}
        self._in_vain: dict[str, int] = {}
        self._repeating = KeyedLocks[str]()

    def undealt(self, tokens: Sequence[str] | Mapping[str, LaunchRequest]) -> list[str]:
        """The client tokens of which no instance is known."""
        return [token for token in sorted(tokens) if self._listing.deals.instance_of(token) is None]

    async def recall(self, tokens: Sequence[str], begun: float) -> dict[str, Fault]:
        """Find what earlier calls launched for these; the faults of those of which that is not known."""
        faults: dict[str, Fault] = {}
        lost = {call.batch: call for token in tokens if (call := self._open.get(token))}
        for sent in lost.values():
            # One at a time for each call: cells of one may ask apart. Other launches do not wait for it.
            async with self._repeating[sent.batch]:
                if sent.tokens[0] not in self._open:
                    continue
                log.info("repeating a launch whose answer was lost", action=sent.action, cells=len(sent.tokens))
                try:
                    await self._send(sent)
                except Fault as fault:
                    if errors.uncertain(fault):
                        faults.update(dict.fromkeys(sent.tokens, fault))
        if begun - self._opened < _YOUNG_SECONDS and any(token not in faults for token in self.undealt(tokens)):
            try:
                await self._listing.all(begun)
            except Fault as fault:
                faults.update(dict.fromkeys(self.undealt(tokens), fault))
        return faults

    async def give_up(self, tokens: Sequence[str]) -> bool:
        """Take the open call for these tokens for one that launched nothing, and say whether it may be taken so.

        Only after EC2 has answered it with an error of its own, time and again, and shows nothing that it launched.
        """
        try:
            await self.look_again()
        except Fault:
            return False
        left = self.undealt(tokens)
        for token in left:
            if sent := self._open.get(token):
                self._closed(sent)
            self._noted_in_vain(token)
        return bool(left)

    async def new(self, order: Order) -> tuple[dict[str, Any], str]:
        """A launching call with its token, tags and roster: its answer, and its batch, "" where all was launched
        before. Raises Fault.
        """
        sent = self._drawn_up(order, ())
        try:
            return await self._send(sent), sent.batch
        except Fault as fault:
            if fault.reason not in _USED_TOKEN:
                raise
            # What an earlier call for these very cells launched must show in a list.
            log.warning("EC2 has launched for these cells before", cells=len(order.tokens), cause=fault.cause)
            await self.look_again()
            left = tuple(self.undealt(order.tokens))
            if not left:
                return {}, ""
            if len(left) < len(order.tokens):
                cause = "some of the cells were launched before"
                raise Fault(Kind.UNAVAILABLE, "launch", cause, "ask again") from fault
            sent = self._drawn_up(order, (order.parameters,))
            return await self._send(sent), sent.batch

    def throttled(self, action: str, parameters: dict[str, Any], cells: int) -> None:
        """A launching call was answered, but was throttled in launching."""
        self._calls.throttled(action, parameters, cells)

    def _drawn_up(self, order: Order, salt: tuple[object, ...]) -> Sent:
        # EC2 would give the answer to an earlier call again, even one that launched nothing.
        tokens = order.tokens
        batch = digest(tokens, order.count, salt, max(self._in_vain.get(token, 0) for token in tokens))
        alike = {**launch_spec.common(order.requests[token] for token in tokens), **self._settings.own_tags}
        own = {TAG_TOKEN: tokens[0]} if len(tokens) == 1 else roster.written(tokens)
        tags = tag_specifications({**alike, **own, TAG_BATCH: batch}, ["instance"])
        tags += tag_specifications(alike, ["volume", "network-interface"])
        if order.action == "CreateFleet":
            tags += tag_specifications(self._settings.own_tags, ["fleet"])
        whole = {**order.parameters, "ClientToken": batch, "TagSpecifications": tags}
        return Sent(action=order.action, parameters=whole, batch=batch, tokens=tokens)

    async def _send(self, sent: Sent) -> dict[str, Any]:
        """Make the call and deal its instances. Kept as open until its outcome is known."""
        self._naming.wait()
        self._open.update(dict.fromkeys(sent.tokens, sent))
        try:
            answer = await self._calls.call("ec2", sent.action, resources=len(sent.tokens), **sent.parameters)
        except Fault as fault:
            if not errors.uncertain(fault):
                self._closed(sent)
            raise
        self._listing.deals.deal(sent.tokens, _instances_in(answer))
        if sent.action == "RunInstances":
            self._listing.absorb(answer.get("Instances") or ())
        elif not answer.get("Errors") and self.undealt(sent.tokens):
            # Neither instances nor reasons: so EC2 may answer a call that it has carried out before. To take it for
            # a refusal would launch all again, in the dearer market.
            log.warning("a fleet's answer leaves out cells; looking for their instances", cells=len(sent.tokens))
            await self.look_again()
        self._closed(sent)
        for token in self.undealt(sent.tokens):
            self._noted_in_vain(token)
        return answer

    def _noted_in_vain(self, token: str) -> None:
        self._in_vain[token] = self._in_vain.pop(token, 0) + 1
        while len(self._in_vain) > _MOST_IN_VAIN:
            del self._in_vain[next(iter(self._in_vain))]

    async def look_again(self) -> None:
        """Find what was launched in a list, which may lag behind a launch by a moment. Raises Fault."""
        await asyncio.sleep(2 * _PAUSE)
        await self._listing.all()

    def _closed(self, sent: Sent) -> None:
        for token in sent.tokens:
            if self._open.get(token) is sent:
                del self._open[token]


def _instances_in(answer: Mapping[str, Any]) -> list[InstanceId]:
    """Instance ids in the answer of either launching call."""
    found: list[InstanceId] = []
    for each in answer.get("Instances") or ():
        found.extend(InstanceId(str(one)) for one in each.get("InstanceIds") or [each.get("InstanceId")] if one)
    return found
