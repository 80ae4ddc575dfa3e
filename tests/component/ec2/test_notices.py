"""The queue of notices, in moto's SQS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.clouds.ec2 import calls
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.notices import notice_queue
from tests.support.ec2_front import running_front

FIRST, SECOND = "i-0b662ef9931388ba0", "i-0b662ef9931388ba1"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(notice_queue, "POLL_SECONDS", 1)


def warning(instance: str) -> str:
    return json.dumps(
        {
            "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "time": "2026-11-24T12:00:00Z",
            "detail": {"instance-id": instance, "instance-action": "terminate"},
        }
    )


async def left(door: Calls, queue: str) -> int:
    """Messages that are in the queue, hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told: dict[str, Any] = await door.call("sqs", "GetQueueAttributes", QueueUrl=queue, AttributeNames=names)
    return sum(int(told["Attributes"][name]) for name in names)


async def test_a_message_is_deleted_when_its_notice_was_taken_and_not_before() -> None:
    async with running_front() as front:
        settings = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=())
        async with calls.running(settings) as door:
            url = str((await door.call("sqs", "CreateQueue", QueueName="notices"))["QueueUrl"])
            for body in ("rubbish", warning(FIRST), warning(SECOND)):
                await door.call("sqs", "SendMessage", QueueUrl=url, MessageBody=body)
            queue = notice_queue.Queue(url, door)

            told = await queue.poll()
            while len(told) < 3:
                told += await queue.poll()
            assert sorted(notice.instance for _, each in told for notice in each) == [FIRST, SECOND]
            assert await left(door, url) == 3

            for handle, _ in told[:2]:
                queue.done(handle)
            await queue.clear()
            assert await left(door, url) == 1


async def test_notices_go_on_over_rubbish_and_leave_an_empty_queue() -> None:
    async with running_front() as front:
        settings = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=())
        async with calls.running(settings) as door:
            url = str((await door.call("sqs", "CreateQueue", QueueName="notices"))["QueueUrl"])
            for body in ("rubbish", warning(FIRST), "{}", warning(SECOND)):
                await door.call("sqs", "SendMessage", QueueUrl=url, MessageBody=body)
            with_queue = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=(), queue_url=url)
            seen: set[str] = set()

            async for notice in notice_queue.heard(with_queue, door):
                seen.add(notice.instance)
                if seen == {FIRST, SECOND}:
                    await door.call("sqs", "SendMessage", QueueUrl=url, MessageBody=warning("i-0000aaaa"))
                if notice.instance == "i-0000aaaa":
                    break
            assert await left(door, url) == 1, "the one whose notice was not taken comes again"


async def test_a_queue_that_is_not_there_is_told_once_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_queue, "_FIRST_PAUSE", 0.01)
    async with running_front() as front:
        settings = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=())
        async with calls.running(settings) as door:
            queue = notice_queue.Queue(f"{front.url}/123456789012/none", door)
            assert await queue.poll() == ()
            url = str((await door.call("sqs", "CreateQueue", QueueName="none"))["QueueUrl"])
            await door.call("sqs", "SendMessage", QueueUrl=url, MessageBody=warning(FIRST))
            assert [notice.instance for _, each in await queue.poll() for notice in each] == [FIRST]


async def test_a_failed_check_is_told_once_for_as_long_as_it_fails() -> None:
    class Door:
        impaired = True

        async def call(self, service: str, action: str, /, *, resources: int = 1, **params: Any) -> dict[str, Any]:
            raise AssertionError(action)

        async def pages(self, service: str, action: str, key: str, /, **params: Any) -> AsyncIterator[dict[str, Any]]:
            yield {"InstanceId": FIRST, "SystemStatus": {"Status": "impaired" if self.impaired else "ok"}}

    door = Door()
    checks = notice_queue.StatusChecks(door)
    assert [each.instance for each in await checks.news()] == [FIRST]
    assert await checks.news() == ()
    door.impaired = False
    assert await checks.news() == ()
    door.impaired = True
    assert len(await checks.news()) == 1


async def test_running_instances_are_asked_for_in_pages() -> None:
    async with running_front() as front:
        settings = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=())
        async with calls.running(settings) as door:
            await door.call(
                "ec2", "RunInstances", MinCount=1, MaxCount=1, ImageId="ami-03cf127a", InstanceType="t3.small"
            )
            assert await notice_queue.StatusChecks(door).news() == ()
            assert front.count("DescribeInstanceStatus") == 1
