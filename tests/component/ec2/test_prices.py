"""What is sold is refreshed from moto's EC2 and a price list in AWS's shape; refusals leave what was known."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from controller.choice.catalogue import Catalogue
from controller.choice.rank import rank
from controller.choice.requirements import Requirements
from controller.choice.unavailable import Unavailable
from controller.clouds.ec2 import calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.market.price_feed import PriceFeed
from controller.model.offer import Demand, LaunchType, Offer
from tests.support.ec2_front import Ec2Front, running_front
from tests.support.ec2_pricing import DEDICATED

ZONES = ("us-east-1a", "us-east-1b")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


class Shelf:
    """As controller.clouds.ec2.market.offers.Offers."""

    def __init__(self) -> None:
        self.current: tuple[Offer, ...] = ()
        self.changes = 0

    def replace(self, offers: tuple[Offer, ...], source: str) -> bool:
        changed = offers != self.current
        self.current = offers if changed else self.current
        self.changes += changed
        return changed


class Clock:
    now = 1_800_000_000.0
    ahead = 0.0

    def __call__(self) -> float:
        return self.now + self.ahead

    def steady(self) -> float:
        return self.now


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[Ec2Front, PriceFeed, Shelf, Clock]]:
    async with running_front() as front:
        # However slowly a busy machine answers.
        settings = Ec2Settings(
            region="us-east-1", endpoint_url=front.url, subnets=(), patience_seconds=280, call_seconds=280
        )
        async with calls.running(settings) as door:
            shelf, clock = Shelf(), Clock()
            yield front, PriceFeed("us-east-1", ZONES, door, shelf, clock, clock.steady), shelf, clock


def faults(prices: PriceFeed) -> set[str]:
    return {each.part for each in prices.sources if each.fault}


async def test_all_parts_are_asked_of_aws_and_asked_again_when_they_are_due() -> None:
    async with opened() as (front, prices, shelf, clock):
        await prices.refresh()

        assert faults(prices) == set()
        assert {each.at for each in prices.sources} == {clock.now}
        offer = next(each for each in shelf.current if each.shape.type == "m7i.large")
        assert (offer.zone, offer.launch_type, offer.usd_per_hour) == ("us-east-1a", LaunchType.ON_DEMAND, 0.1008)
        assert any(each.launch_type is LaunchType.SPOT and each.usd_per_hour == 0.00001 for each in shelf.current)
        first = (front.count("DescribeInstanceTypes"), front.count("DescribeSpotPriceHistory"))

        clock.now += 1.2 * 3600
        await prices.refresh()
        assert front.count("DescribeInstanceTypes") == first[0], "types are due every 12 h"
        assert front.count("DescribeSpotPriceHistory") > first[1]
        assert shelf.changes == 1, "nothing changed: the same offers stay on sale"


async def test_without_rights_the_snapshot_stays_on_sale_and_says_why() -> None:
    async with opened() as (front, prices, shelf, clock):
        for action in (
            "DescribeInstanceTypes",
            "DescribeInstanceTypeOfferings",
            "GetProducts",
            "DescribeSpotPriceHistory",
        ):
            front.rules.fail(action, "UnauthorizedOperation")
        await prices.refresh()

        assert shelf.changes == 0, "what was sold before stays"
        assert faults(prices) == {"types", "zones", "on-demand", "spot", "dedicated"}
        assert {each.source.split()[0] for each in prices.sources} == {"bundled", "assumed:", "guessed:"}

        front.rules.heal()
        front.rules.fail("GetProducts", "UnauthorizedOperation")
        clock.now += 14 * 3600
        await prices.refresh()
        assert faults(prices) == {"on-demand", "dedicated"}
        assert next(each for each in shelf.current if each.shape.type == "m7i.large").usd_per_hour == 0.1008


async def test_what_was_asked_while_the_clock_was_ahead_is_asked_again_when_it_is_due() -> None:
    async with opened() as (front, prices, _, clock):
        clock.ahead = 7 * 86_400.0
        await prices.refresh()
        first = front.count("DescribeSpotPriceHistory")

        clock.ahead = 0.0
        clock.now += 1.2 * 3600
        await prices.refresh()
        assert front.count("DescribeSpotPriceHistory") > first


async def test_a_failed_part_is_asked_again_before_it_is_due() -> None:
    async with opened() as (front, prices, shelf, clock):
        front.rules.fail("DescribeInstanceTypeOfferings", "InvalidParameterValue")
        await prices.refresh()
        assert faults(prices) == {"zones"}
        assert shelf.current

        front.rules.heal()
        clock.now += 400
        await prices.refresh()
        assert faults(prices) == set()


async def test_what_hardware_of_ones_own_costs_is_asked_for_and_ranks_pods_that_want_it() -> None:
    async with opened() as (_, prices, shelf, _clock):
        await prices.refresh()
        sold = Catalogue(shelf.current)
        ways = Requirements(launch_types=(LaunchType.ON_DEMAND, LaunchType.SPOT), types=("m7i.large",))
        demand = Demand(cpu_millis=1000, memory_mib=1024)
        usual = {each.launch_type: each for each in rank(demand, ways, sold, Unavailable(), 0.0).offers}
        requirement = msgspec.structs.replace(ways, tenancy="dedicated")
        own = {each.launch_type: each for each in rank(demand, requirement, sold, Unavailable(), 0.0).offers}
        assert own[LaunchType.ON_DEMAND].usd_per_hour == pytest.approx(0.1008 * DEDICATED)
        for way, offer in own.items():
            assert offer.usd_per_hour == pytest.approx(usual[way].usd_per_hour * DEDICATED, rel=0.1)
