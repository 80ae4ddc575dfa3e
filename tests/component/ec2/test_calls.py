"""The door to AWS, against a server that throttles, hangs and loses answers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import calls, errors
from controller.clouds.ec2.ec2_settings import Ec2Settings
from tests.support.ec2_front import Ec2Front, running_front

# Seconds that a call is given: those do in which the machine, however busy, gets to what is asked.
GROWING = (0.3, 1.2, 5.0, 20.0)
LAUNCH: dict[str, Any] = {"ImageId": "ami-03cf127a", "InstanceType": "t3.small"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def settings(front: Ec2Front, **more: object) -> Ec2Settings:
    plain = Ec2Settings(region="us-east-1", endpoint_url=front.url, subnets=())
    return msgspec.structs.replace(plain, **more)


async def test_a_throttled_call_is_made_again_and_each_try_counted() -> None:
    async with running_front() as front, calls.running(settings(front)) as door:
        front.rules.fail("DescribeVpcs", "RequestLimitExceeded", 2)
        told: list[tuple[str, str, str]] = []
        door.on_call = lambda service, action, outcome, seconds: told.append((service, action, outcome))

        assert (await door.call("ec2", "DescribeVpcs"))["Vpcs"]

        assert [outcome for _, _, outcome in told] == ["RequestLimitExceeded", "RequestLimitExceeded", "ok"]
        assert door.counts["ec2", "DescribeVpcs", "ok"] == 1


async def test_a_missing_right_is_not_asked_for_twice_and_named() -> None:
    async with running_front() as front, calls.running(settings(front)) as door:
        front.rules.fail("CreateFleet", "UnauthorizedOperation")
        with pytest.raises(Fault, match="ec2:CreateFleet") as raised:
            await door.call(
                "ec2",
                "CreateFleet",
                ClientToken="a",
                Type="instant",
                LaunchTemplateConfigs=[],
                TargetCapacitySpecification={"TotalTargetCapacity": 1},
            )
        assert raised.value.kind is Kind.DENIED
        assert front.count("CreateFleet") == 1


async def test_silence_ends_in_a_fault_that_says_so() -> None:
    async with running_front() as front:
        front.rules.hang("DescribeVpcs")
        for seconds in GROWING:
            before = front.count("DescribeVpcs")
            async with calls.running(settings(front, call_seconds=seconds, patience_seconds=5 * seconds)) as door:
                with pytest.raises(Fault, match="ec2 DescribeVpcs: no") as raised:
                    await door.call("ec2", "DescribeVpcs")
                assert raised.value.kind is Kind.UNAVAILABLE
            if front.count("DescribeVpcs") >= before + 2:
                break
        else:
            pytest.fail("it is not asked again")


async def test_a_lost_answer_to_a_call_with_a_token_is_asked_for_again_and_launches_once() -> None:
    async with running_front() as front, calls.running(settings(front)) as door:
        front.rules.lose("RunInstances")
        answer = await door.call(
            "ec2", "RunInstances", resources=2, ClientToken="once", MinCount=2, MaxCount=2, **LAUNCH
        )

        assert len(answer["Instances"]) == 2
        running = [one async for one in door.pages("ec2", "DescribeInstances", "Reservations", MaxResults=5)]
        assert len(running) == 1


async def test_a_lost_answer_to_a_call_without_a_token_is_left_to_the_caller() -> None:
    async with running_front() as front, calls.running(settings(front)) as door:
        front.rules.lose("CreateVpc")
        with pytest.raises(Fault) as raised:
            await door.call("ec2", "CreateVpc", CidrBlock="10.1.0.0/16")
        assert raised.value.kind is Kind.UNAVAILABLE
        assert front.count("CreateVpc") == 1


@pytest.mark.parametrize(
    ("status", "said"), [(503, "no healthy upstream"), (502, "<!DOCTYPE html><p>Bad gateway<br>"), (200, "<Describe")]
)
async def test_an_answer_that_is_none_of_awss_is_a_fault_like_silence(status: int, said: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=said, content_type="text/html")

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as proxy:
        plain = Ec2Settings(region="us-east-1", endpoint_url=str(proxy.make_url("/")), subnets=())
        told = ""
        for seconds in GROWING:
            async with calls.running(msgspec.structs.replace(plain, patience_seconds=seconds)) as door:
                with pytest.raises(Fault) as raised:
                    await door.call("ec2", "DescribeVpcs")
            assert raised.value.kind is Kind.UNAVAILABLE
            assert errors.uncertain(raised.value), "what launches is asked for again"
            told = str(raised.value)
            if "none of AWS's" in told:
                break
        assert "none of AWS's" in told


async def test_a_listing_goes_through_all_its_pages() -> None:
    async with running_front() as front, calls.running(settings(front)) as door:
        for number in range(6):
            await door.call("ec2", "RunInstances", ClientToken=f"t{number}", MinCount=1, MaxCount=1, **LAUNCH)
        found = [one async for one in door.pages("ec2", "DescribeInstances", "Reservations", MaxResults=5)]
        assert len({one["ReservationId"] for one in found}) == 6
        assert front.count("DescribeInstances") >= 2


async def test_a_long_poll_is_given_its_time_however_short_a_call_may_be() -> None:
    async with running_front() as front:
        async with calls.running(settings(front)) as patient:
            url = str((await patient.call("sqs", "CreateQueue", QueueName="quiet"))["QueueUrl"])
        answer: dict[str, Any] | None = None
        for wait in (2, 8, 20):
            async with calls.running(settings(front, call_seconds=wait / 2, patience_seconds=wait * 0.75)) as door:
                with suppress(Fault):
                    answer = await door.call("sqs", "ReceiveMessage", QueueUrl=url, WaitTimeSeconds=wait)
                    break
        assert answer is not None, "it is longer than a call or patience may be"
        assert not answer.get("Messages")


KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
LOGIN = """[profile sso]
sso_session = s
sso_account_id = 1
sso_role_name = r
[sso-session s]
sso_region = us-east-1
sso_start_url = https://login.example/start
"""


@pytest.mark.parametrize(
    ("environment", "configuration", "chosen_settings", "words"),
    [
        (KEYS, "", {"region": "not a region"}, ("not a region", "name one of AWS")),
        (KEYS, "", {"region": "eu-wrong-9"}, ("'eu-wrong-9'", "name one of AWS")),
        (KEYS, "", {"endpoint_url": "nonsense"}, ("nonsense", "leave cloud.ec2.endpoint_url out")),
        ({"AWS_ACCESS_KEY_ID": "a"}, "", {}, ("AWS_SECRET_ACCESS_KEY", "give the controller's machine a role")),
        ({}, "", {}, ("Unable to locate credentials", "give the controller's machine a role")),
        (KEYS, "[default", {}, ("Unable to parse config file", "mend the AWS configuration")),
        ({}, LOGIN, {"key_profile": "sso"}, ("Token for s does not exist", "aws sso login")),
        ({}, "", {"key_profile": "nobody"}, ("nobody", "name one of the shared AWS configuration")),
        (
            {},
            "[profile x]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = y\n",
            {"key_profile": "x"},
            ('source_profile "y"', "mend the AWS configuration"),
        ),
        (
            {},
            "[profile x]\ncredential_process = /bin/false\n",
            {"key_profile": "x"},
            ("custom-process", "give the controller's machine a role"),
        ),
    ],
    ids=["region", "no such region", "endpoint", "half", "none", "torn", "logged out", "profile", "source", "process"],
)
async def test_what_keeps_the_sdk_from_asking_is_said_at_once_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environment: dict[str, str],
    configuration: str,
    chosen_settings: dict[str, str],
    words: tuple[str, str],
) -> None:
    (tmp_path / "config").write_text(configuration)
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
    for name in (*KEYS, "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**nowhere, "AWS_CONFIG_FILE": str(tmp_path / "config"), **environment}.items():
        monkeypatch.setenv(name, value)
    chosen = msgspec.structs.replace(Ec2Settings(region="us-east-1"), **chosen_settings)
    with pytest.raises(Fault) as failed:
        async with calls.running(chosen) as door:
            await door.call("ec2", "DescribeVpcs")
    assert failed.value.kind in {Kind.INVALID, Kind.DENIED}
    for each in words:
        assert each in str(failed.value)
    assert "Traceback" not in caplog.text
