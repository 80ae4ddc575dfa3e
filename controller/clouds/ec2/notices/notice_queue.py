"""Notices of AWS: from the queue that EventBridge fills, and between two polls from the instances' status checks.

A message is deleted once its notices were taken; what cannot be read is deleted with a warning. Nothing here ends for
a fault: it is told once, and tried again. Without a queue only the status checks are made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import structlog

from cellwire.faults import Fault
from controller.clouds.ec2.calls import Door
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.notices import eventbridge
from controller.clouds.protocol import Notice

log = structlog.get_logger()
# SQS: the longest poll, the largest answer, and how long it hides a message that we have not deleted yet.
POLL_SECONDS = 20
MESSAGES = 10
HIDDEN_SECONDS = 30
# Who examines the queue sends an event every 5 s, until one is not taken by us: it has the queue for two of them, and
# notices wait for it no more often than this.
YIELD_SECONDS, YIELD_AGAIN = 11.0, 60.0
# EC2 makes its status checks every minute.
STATUS_SECONDS = 60.0
_PAGE = 1000
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


async def heard(
    settings: Ec2Settings, calls: Door, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Notice]:
    """Notices for as long as the caller iterates; never ends by itself."""
    queue = Queue(settings.queue_url, calls)
    checks = StatusChecks(calls)
    due = clock()
    while True:
        if clock() >= due:
            due = clock() + STATUS_SECONDS
            for notice in await checks.news():
                yield notice
        if not settings.queue_url:
            await asyncio.sleep(max(0.0, due - clock()))
            continue
        for handle, notices in await queue.poll():
            for notice in notices:
                yield notice
            # Whoever asks for the next one has taken this one.
            queue.done(handle)
        await queue.clear()


class Queue:
    """One SQS queue."""

    def __init__(self, url: str, calls: Door) -> None:
        self._url = url
        self._calls = calls
        self._taken: list[str] = []
        self._pause = 0.0
        self._told = ""
        self._yields = False
        self._yielded_at = -YIELD_AGAIN

    async def poll(self) -> tuple[tuple[str, tuple[Notice, ...]], ...]:
        """What came within 20 s: handle and notices of each message. Empty after a fault, which has been told."""
        now = asyncio.get_running_loop().time()
        if self._yields and now - self._yielded_at >= YIELD_AGAIN:
            self._yielded_at = now
            await asyncio.sleep(YIELD_SECONDS)
        try:
            answer = await self._calls.call(
                "sqs",
                "ReceiveMessage",
                QueueUrl=self._url,
                MaxNumberOfMessages=MESSAGES,
                WaitTimeSeconds=POLL_SECONDS,
                VisibilityTimeout=HIDDEN_SECONDS,
            )
        except Fault as fault:
            await self._failed(fault)
            return ()
        self._pause, self._told = 0.0, ""
        messages = cast("list[dict[str, Any]]", answer.get("Messages") or [])
        self._yields = any(eventbridge.is_of_doctor(str(each.get("Body") or "")) for each in messages)
        return tuple((str(each["ReceiptHandle"]), self._read(each)) for each in messages)

    def done(self, handle: str) -> None:
        """This message was taken."""
        self._taken.append(handle)

    async def clear(self) -> None:
        """Delete what was taken. What cannot be deleted comes again, which does no harm."""
        handles, self._taken = self._taken[:MESSAGES], self._taken[MESSAGES:]
        if not handles:
            return
        entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
        try:
            answer = await self._calls.call("sqs", "DeleteMessageBatch", QueueUrl=self._url, Entries=entries)
        except Fault as fault:
            log.warning("messages could not be deleted; they come again", cause=str(fault))
            return
        if failed := answer.get("Failed"):
            log.warning("messages could not be deleted; they come again", count=len(cast("list[object]", failed)))

    def _read(self, message: dict[str, Any]) -> tuple[Notice, ...]:
        try:
            return eventbridge.read(str(message.get("Body") or ""))
        except Fault as fault:
            log.warning("threw away a message that cannot be read", id=message.get("MessageId"), cause=str(fault))
            return ()

    async def _failed(self, fault: Fault) -> None:
        if str(fault) != self._told:
            self._told = str(fault)
            log.warning("the queue of notices is not heard", queue=self._url, cause=str(fault))
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        await asyncio.sleep(self._pause)


class StatusChecks:
    """What DescribeInstanceStatus says, told once for as long as it stays so."""

    def __init__(self, calls: Door) -> None:
        self._calls = calls
        self._known: frozenset[Notice] = frozenset()
        self._told = ""

    async def news(self) -> tuple[Notice, ...]:
        """What was not so the last time. Empty after a fault, which has been told."""
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        found: list[Notice] = []
        try:
            async for status in self._calls.pages(
                "ec2", "DescribeInstanceStatus", "InstanceStatuses", Filters=running, MaxResults=_PAGE
            ):
                found.extend(eventbridge.of_status(status))
        except Fault as fault:
            if str(fault) != self._told:
                self._told = str(fault)
                log.warning("status checks are not heard", cause=str(fault))
            return ()
        before, self._known, self._told = self._known, frozenset(found), ""
        return tuple(notice for notice in found if notice not in before)
