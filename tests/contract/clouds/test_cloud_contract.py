"""What the fleet may rely on, whichever the cloud."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Cloud, LaunchRequest
from controller.model.instance import InstanceState
from controller.model.names import InstanceId
from controller.model.offer import LaunchType, Offer
from tests.support.launching import kind_of, launched_all

ALIVE = {InstanceState.PENDING, InstanceState.RUNNING}


class Opened(Protocol):
    @property
    def cloud(self) -> Cloud: ...
    @property
    def refuse(self) -> Callable[[str, str], None]: ...


Open = Callable[[], AbstractAsyncContextManager[Opened]]


async def cheapest(cloud: Cloud) -> tuple[Offer, ...]:
    return tuple(sorted(await cloud.offers(), key=lambda offer: offer.usd_per_hour))


def request(token: str, offers: tuple[Offer, ...]) -> LaunchRequest:
    return LaunchRequest(
        client_token=token, offers=offers, user_data="#!/bin/sh\nexec sleep 600\n", tags={"pod": f"of-{token}"}
    )


async def test_offers_name_a_shape_a_zone_and_a_price_and_spot_is_cheaper(opened: Open) -> None:
    async with opened() as it:
        offers = await it.cloud.offers()

        assert offers
        assert all(offer.usd_per_hour > 0 and offer.shape.memory_mib > 0 and offer.zone for offer in offers)
        paid = {(o.shape.type, o.zone): o.usd_per_hour for o in offers if o.launch_type is LaunchType.ON_DEMAND}
        spot = {(o.shape.type, o.zone): o.usd_per_hour for o in offers if o.launch_type is LaunchType.SPOT}
        assert all(price < paid[key] for key, price in spot.items() if key in paid)


async def test_a_launched_instance_is_told_with_its_token_type_and_tags(opened: Open) -> None:
    async with opened() as it:
        offers = await cheapest(it.cloud)
        launched = await it.cloud.launch(request("a", offers))

        assert launched.instance is not None, launched.fault
        (known,) = [one for one in await it.cloud.instances() if one.state in ALIVE]
        assert known.id == launched.instance.id
        assert (known.client_token, known.type, known.zone) == ("a", offers[0].shape.type, offers[0].zone)
        assert known.launch_type is offers[0].launch_type
        assert known.tags["pod"] == "of-a"
        assert known.launched_at > 0
        await it.cloud.terminate([known.id])


async def test_of_several_requests_at_once_the_one_without_offers_fails_alone(opened: Open) -> None:
    async with opened() as it:
        offers = await cheapest(it.cloud)
        outcomes = await launched_all(it.cloud, [request("a", offers), request("b", ()), request("c", offers)])

        assert [outcome.client_token for outcome in outcomes] == ["a", "b", "c"]
        assert [outcome.instance is not None for outcome in outcomes] == [True, False, True]
        assert kind_of(outcomes[1]) is Kind.INVALID
        await it.cloud.terminate([outcome.instance.id for outcome in outcomes if outcome.instance])


async def test_a_repeated_token_gives_the_same_instance_also_at_the_same_time(opened: Open) -> None:
    async with opened() as it:
        offers = await cheapest(it.cloud)
        first = await launched_all(it.cloud, [request("same", offers)] * 5)
        again = await launched_all(it.cloud, [request("same", offers)] * 2)

        ids = {one.instance.id for one in (*first, *again) if one.instance}
        assert len(ids) == 1
        assert len([one for one in await it.cloud.instances() if one.state in ALIVE]) == 1
        await it.cloud.terminate(list(ids))


async def test_where_an_offer_is_refused_the_next_is_taken_and_the_refusal_told(opened: Open) -> None:
    async with opened() as it:
        offers = await cheapest(it.cloud)
        it.refuse(offers[0].shape.type, "InsufficientInstanceCapacity")
        launched = await it.cloud.launch(request("a", offers))

        assert launched.instance is not None, launched.fault
        assert launched.instance.type != offers[0].shape.type
        assert (launched.unfulfilled[0].type, launched.unfulfilled[0].code) == (
            offers[0].shape.type,
            "InsufficientInstanceCapacity",
        )
        await it.cloud.terminate([launched.instance.id])


async def test_where_all_offers_are_refused_the_outcome_says_no_capacity_and_nothing_runs(opened: Open) -> None:
    async with opened() as it:
        offers = (await cheapest(it.cloud))[:1]
        it.refuse(offers[0].shape.type, "InsufficientInstanceCapacity")
        launched = await it.cloud.launch(request("a", offers))

        assert launched.instance is None
        assert kind_of(launched) is Kind.NO_CAPACITY
        assert offers[0].shape.type in str(launched.fault)
        assert not [one for one in await it.cloud.instances() if one.state in ALIVE]


async def test_ending_an_instance_twice_or_an_unknown_one_is_no_error(opened: Open) -> None:
    async with opened() as it:
        launched = await it.cloud.launch(request("a", await cheapest(it.cloud)))
        assert launched.instance is not None, launched.fault

        await it.cloud.terminate([launched.instance.id, launched.instance.id])
        await it.cloud.terminate([launched.instance.id, InstanceId("i-0123456789abcdef0")])

        assert not [one for one in await it.cloud.instances() if one.state in ALIVE]


async def test_an_identity_that_the_cloud_did_not_sign_is_denied(opened: Open) -> None:
    async with opened() as it:
        with pytest.raises(Fault) as raised:
            it.cloud.verify(b'{"instanceId": "i-1"}', b"Zm9yZ2Vk")

        assert raised.value.kind is Kind.DENIED
