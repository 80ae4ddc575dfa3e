"""Gives an instance, its volumes and interfaces the tags that are its own: names of its cell and pod, labels, token.

EC2 gives one call's instances equal tags, and tags several afterwards only alike; so this is a call an instance.
Nothing waits for it: it begins when launching has paused, and goes slowly, so that it never takes a turn from a launch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.tags import tag_list
from controller.model.names import InstanceId

log = structlog.get_logger()
_QUIET_SECONDS = 10.0
# Where launching never pauses, names must not wait for ever.
_LONGEST_WAIT = 60.0
# Half of what EC2 allows for good.
_PACE_SECONDS = 0.2
_LATER_SECONDS = 10.0
# So long after a call a list may still show the tags of before; and what was denied is asked for again no sooner.
_LISTED_SECONDS = 120.0


class Tagging:
    """See the module."""

    def __init__(self, calls: Calls, parts: Callable[[InstanceId], tuple[str, ...]] = lambda _: ()) -> None:
        self._calls = calls
        self._parts = parts
        self._wanted: dict[InstanceId, dict[str, str]] = {}
        self._said: dict[InstanceId, tuple[float, dict[str, str]]] = {}
        self._there = asyncio.Event()
        self._last = 0.0
        self._first = 0.0

    def add(self, instance: InstanceId, tags: Mapping[str, str]) -> None:
        """These tags are wanted; later ones are laid over earlier ones. What was said lately is not said again."""
        now = time.monotonic()
        said_at, said = self._said.get(instance, (float("-inf"), {}))
        coming = {**(said if now - said_at < _LISTED_SECONDS else {}), **self._wanted.get(instance, {})}
        fresh = {key: value for key, value in tags.items() if coming.get(key) != value}
        if not fresh:
            return
        if not self._wanted:
            self._first = now
        self._wanted.setdefault(instance, {}).update(fresh)
        self.wait()
        self._there.set()

    def wait(self) -> None:
        """A launch is under way: not now."""
        self._last = time.monotonic()

    async def work(self) -> None:
        """Tag one after another, for ever."""
        while True:
            await self._there.wait()
            while (due := min(self._last + _QUIET_SECONDS, self._first + _LONGEST_WAIT)) > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            await self._one()
            if not self._wanted:
                self._there.clear()

    async def _one(self) -> None:
        instance = next(iter(self._wanted))
        tags = self._wanted.pop(instance)
        now = time.monotonic()
        self._said = {each: one for each, one in self._said.items() if now - one[0] < _LISTED_SECONDS}
        self._said[instance] = (now, {**self._said.get(instance, (now, {}))[1], **tags})
        try:
            await self._calls.call(
                "ec2", "CreateTags", Resources=[str(instance), *self._parts(instance)], Tags=tag_list(tags)
            )
            await asyncio.sleep(_PACE_SECONDS)
        except Fault as fault:
            log.warning("an instance could not be tagged", instance=instance, cause=str(fault))
            if fault.kind is Kind.UNAVAILABLE:
                self._said.pop(instance, None)
                self._wanted[instance] = {**tags, **self._wanted.get(instance, {})}
                await asyncio.sleep(_LATER_SECONDS)
