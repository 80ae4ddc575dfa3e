"""Tokens of ECR: fetched once, kept until shortly before they expire, for images of ECR only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault
from controller.clouds.ec2 import calls
from controller.clouds.ec2.ecr import MARGIN_SECONDS, EcrLogins, region_of
from controller.clouds.protocol import Login
from tests.support.ec2_cloud import credentials, settings_on
from tests.support.ec2_front import running_front

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
IMAGE = f"{HOST}/team/app:1"


class Door:
    """ECR whose tokens live until `expires`."""

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.asked: list[tuple[str, str]] = []
        self.token = base64.b64encode(b"AWS:secret").decode()

    async def call(self, service: str, action: str, /, *, resources: int = 1, **params: Any) -> dict[str, Any]:
        self.asked.append((service, action))
        await asyncio.sleep(0)
        expires = datetime.fromtimestamp(self.expires, UTC)
        return {"authorizationData": [{"authorizationToken": self.token, "expiresAt": expires}]}

    async def pages(self, service: str, action: str, key: str, /, **params: Any) -> AsyncIterator[dict[str, Any]]:
        raise AssertionError(action)
        yield {}


@pytest.mark.parametrize(
    ("image", "region"),
    [
        (IMAGE, "eu-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app@sha256:00", "cn-north-1"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/app", "eusc-de-east-1"),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/app", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app", "us-east-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws/app:1", "eu-west-1"),
        ("123456789012.dkr-ecr-fips.us-east-1.on.aws/app", "us-east-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws.example.com/app", ""),
        ("public.ecr.aws/nginx/nginx", ""),
        ("nginx", ""),
        (HOST, ""),
        (f"{HOST}.example.com/app", ""),
        (f"evil.example.com/{HOST}/app", ""),
    ],
)
def test_only_hosts_of_ecr_get_a_token(image: str, region: str) -> None:
    assert region_of(image) == region


async def test_one_token_serves_all_pulls_until_shortly_before_it_expires() -> None:
    now = 1_000_000.0
    door = Door(expires=now + 12 * 3600)
    registries = EcrLogins(door, clock=lambda: now, steady=lambda: now)
    async with asyncio.TaskGroup() as tasks:
        pulls = [tasks.create_task(registries.login(IMAGE)) for _ in range(20)]
    assert {pull.result() for pull in pulls} == {Login(username="AWS", password="secret")}
    assert door.asked == [("ecr@eu-west-1", "GetAuthorizationToken")]

    now += 12 * 3600 - MARGIN_SECONDS
    await registries.login(IMAGE)
    assert len(door.asked) == 2


@pytest.mark.parametrize("wrong", [86_400.0, -86_400.0])
async def test_no_token_outlives_its_twelve_hours_by_a_clock_that_is_set(wrong: float) -> None:
    now = 1_000_000.0
    door = Door(expires=now + 12 * 3600)
    registries = EcrLogins(door, clock=lambda: now + wrong, steady=lambda: now)
    await registries.login(IMAGE)
    wrong = 0.0
    now += 12 * 3600 - MARGIN_SECONDS
    door.expires = now + 12 * 3600
    await registries.login(IMAGE)
    assert len(door.asked) == 2


async def test_a_token_that_expires_while_the_machine_sleeps_is_not_used() -> None:
    now = 1_000_000.0
    door = Door(expires=now + 12 * 3600)
    registries = EcrLogins(door, clock=lambda: now, steady=lambda: 0.0)
    await registries.login(IMAGE)
    now += 13 * 3600
    await registries.login(IMAGE)
    assert len(door.asked) == 2


async def test_a_token_that_has_expired_already_is_used_once() -> None:
    door = Door(expires=100.0)
    registries = EcrLogins(door, clock=lambda: 1_000_000.0)
    assert await registries.login(IMAGE) == await registries.login(IMAGE)
    assert len(door.asked) == 2


async def test_a_token_that_cannot_be_read_is_a_fault() -> None:
    door = Door(expires=2_000_000.0)
    door.token = "no base64"
    with pytest.raises(Fault, match="GetAuthorizationToken"):
        await EcrLogins(door, clock=lambda: 1_000_000.0).login(IMAGE)


async def test_the_token_comes_from_the_region_of_the_image(tmp_path: Path) -> None:
    with credentials():
        async with running_front() as front, calls.running(await settings_on(front, tmp_path)) as door:
            found = await EcrLogins(door).login(IMAGE)

            assert found is not None
            assert found.username == "AWS"
            assert found.password
            assert front.count("GetAuthorizationToken", service="ecr") == 1


async def test_a_region_that_nobody_knows_is_asked_nothing_but_our_own_always() -> None:
    door = Door(4e9)
    invented = "123456789012.dkr.ecr.mars-central-7.amazonaws.com/app"
    assert await EcrLogins(door).login(invented) is None
    assert door.asked == []
    assert await EcrLogins(door, home="mars-central-7").login(invented) is not None
    assert await EcrLogins(door).login(IMAGE) is not None
