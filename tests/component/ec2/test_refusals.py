"""What EC2 refuses for all of a market or of a call: another way is taken within the same pass, and all is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Reserved
from controller.model.offer import LaunchType
from tests.component.ec2.test_launch import cheapest, request
from tests.support.ec2_cloud import ZONES, stage
from tests.support.launching import kind_of, launched_all

NO_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"


@pytest.mark.parametrize("code", [NO_ROLE, "MaxSpotInstanceCountExceeded", "UnfulfillableCapacity"])
async def test_where_an_account_can_have_no_spot_the_pods_that_allow_both_run_on_demand(
    tmp_path: Path, code: str
) -> None:
    async with stage(tmp_path) as on:
        both = (*await cheapest(on.cloud, LaunchType.SPOT, 5), *await cheapest(on.cloud, most=5))
        on.front.rules.limit(market="spot", code=code)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", both) for number in range(3)])
        assert {one.instance.launch_type for one in outcomes if one.instance} == {LaunchType.ON_DEMAND}
        refused = {(each.type, each.zone) for each in outcomes[0].unfulfilled if each.code == code}
        assert refused == {(offer.shape.type, offer.zone) for offer in both[:5]}, "none of them is tried again soon"
        assert on.front.count("RunInstances") == 0, "fleets are allowed all the same"


async def test_a_pod_that_wants_spot_only_is_told_what_an_administrator_must_do(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.limit(market="spot", code=NO_ROLE)
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud, LaunchType.SPOT, 5)))
        assert kind_of(launched) is Kind.NO_CAPACITY
        assert "create-service-linked-role" in str(launched.fault)
        assert not await on.alive()


async def test_a_limit_that_refuses_a_whole_call_for_spot_is_not_the_end_of_on_demand(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        both = (*await cheapest(on.cloud, LaunchType.SPOT, 5), *await cheapest(on.cloud, most=5))
        on.front.rules.fail("CreateFleet", "MaxSpotInstanceCountExceeded", 1)
        launched = await on.cloud.launch(request("c-1-1-a", both))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.ON_DEMAND
        assert {each.launch_type for each in launched.unfulfilled} == {"spot"}


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("CreateFleet", "MaxFleetCountExceeded"),
        ("CreateLaunchTemplate", "ResourceLimitExceeded"),
        ("CreateLaunchTemplate", "MaxTemplateLimitExceeded"),
    ],
)
async def test_an_account_with_too_many_fleets_or_templates_launches_without(
    tmp_path: Path, action: str, code: str
) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.fail(action, code)
        # The templates that most pods share were made at the start.
        requirement = {"chinampa.dev/tenancy": "dedicated"} if action == "CreateLaunchTemplate" else {}
        offers = await cheapest(on.cloud)
        outcomes = await launched_all(
            on.cloud, [request(f"c-{number}-1-a", offers, annotations=requirement) for number in range(4)]
        )
        assert not outcomes[0].unfulfilled, "no offer is to blame"
        assert len({one.instance.id for one in outcomes if one.instance}) == 4
        assert on.front.count("RunInstances") == 1
        assert len(await on.alive()) == 4


async def test_a_template_that_somebody_has_deleted_is_made_anew(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        first = await on.cloud.launch(request("c-1-1-a", offers))
        on.front.rules.fail("CreateFleet", "InvalidLaunchTemplateName.NotFoundException", 1)
        second = await on.cloud.launch(request("c-2-1-a", offers))
        assert first.instance is not None
        assert second.instance is not None, second.fault
        asked = [call for call in on.front.calls if call.action == "CreateLaunchTemplate"]
        assert len(asked) > 1, "it is asked for again"
        tokens = {call.parameters["ClientToken"] for call in asked}
        assert len(tokens) == len(asked), "to a token that it knows EC2 says that the template is there"


async def test_two_subnets_of_one_zone_are_filled_one_after_the_other(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        made = [
            await on.front.ask(
                "CreateSubnet", VpcId=on.cloud.environment.vpc, CidrBlock=block, AvailabilityZone=ZONES[0]
            )
            for block in ("10.240.192.0/28", "10.240.192.16/28")
        ]
        subnets = tuple(str(each["Subnet"]["SubnetId"]) for each in made)
        async with on.reopen(subnets=subnets) as cloud:
            offers = await cheapest(cloud)
            outcomes = await launched_all(cloud, [request(f"c-{number}-1-a", offers) for number in range(8)])
            assert all(one.instance for one in outcomes), [one.fault for one in outcomes]
            assert not outcomes[0].unfulfilled, "the zone has another subnet"
            assert {each["SubnetId"] for each in await on.alive()} == set(subnets)
            calls = on.front.count("CreateFleet")
            later = await cloud.launch(request("c-9-1-a", offers))
            assert later.instance is not None, later.fault
            assert on.front.count("CreateFleet") == calls + 1, "the full one is not tried first again"


async def test_at_the_vcpu_limit_the_fault_says_what_to_ask_of_aws(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.limit(code="VcpuLimitExceeded")
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert kind_of(launched) is Kind.NO_CAPACITY
        assert "VcpuLimitExceeded" in str(launched.fault)
        assert "higher vCPU limit" in str(launched.fault)
        assert not await on.alive()


async def test_throttling_in_the_answer_of_a_fleet_is_asked_again_and_spoils_no_offer(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.limit(code="RequestLimitExceeded")
        throttled = await on.cloud.launch(request("c-1-1-a", offers))
        assert kind_of(throttled) is Kind.UNAVAILABLE
        assert not throttled.unfulfilled
        on.front.rules.heal()
        again = await on.cloud.launch(request("c-1-1-a", offers))
        assert again.instance is not None
        assert len(await on.alive()) == 1


async def test_many_offers_without_capacity_are_passed_over_in_one_pass_though_a_fleet_tries_three(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as on:
        offers = [each for each in await cheapest(on.cloud, most=400) if each.zone == ZONES[0]]
        types = list(dict.fromkeys(each.shape.type for each in offers))
        for type_ in types[:7]:
            on.front.rules.limit(type_)
        launched = await on.cloud.launch(request("c-1-1-a", tuple(offers)))
        assert launched.instance is not None, launched.fault
        assert launched.instance.type == types[7]
        assert {each.type for each in launched.unfulfilled} == set(types[:7])
        assert on.front.count("CreateFleet") == 3


async def test_where_there_is_no_capacity_at_all_a_few_calls_say_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.limit()
        offers = await cheapest(on.cloud, most=100)
        launched = await on.cloud.launch(request("c-1-1-a", offers))
        assert kind_of(launched) is Kind.NO_CAPACITY
        assert on.front.count("CreateFleet") <= 5
        asked = list(dict.fromkeys(each.shape.type for each in offers))[:60]
        assert {each.type for each in launched.unfulfilled} == set(asked), "none of them is asked for again soon"


async def test_throttling_of_a_spot_fleet_does_not_buy_the_dearer_instance(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        both = (*await cheapest(on.cloud, LaunchType.SPOT, 5), *await cheapest(on.cloud, most=5))
        on.front.rules.limit(market="spot", code="RequestLimitExceeded")
        throttled = await on.cloud.launch(request("c-1-1-a", both))
        assert kind_of(throttled) is Kind.UNAVAILABLE
        assert not throttled.unfulfilled
        assert not await on.alive()
        on.front.rules.heal()
        again = await on.cloud.launch(request("c-1-1-a", both))
        assert again.instance is not None, again.fault
        assert again.instance.launch_type is LaunchType.SPOT


async def test_a_pod_with_a_reservation_is_launched_into_it_on_demand(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        spot, on_demand = await cheapest(on.cloud, LaunchType.SPOT, 5), await cheapest(on.cloud, most=5)
        requirement = {"chinampa.dev/capacity-reservation": "cr-0123456789abcdef0"}
        launched = await on.cloud.launch(request("c-1-1-a", (*spot, *on_demand), annotations=requirement))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.ON_DEMAND
        made = [call.parameters for call in on.front.calls if call.action == "CreateLaunchTemplate"]
        targets = [each["LaunchTemplateData"].get("CapacityReservationSpecification") for each in made]
        assert {"CapacityReservationTarget": {"CapacityReservationId": "cr-0123456789abcdef0"}} in targets

        refused = await on.cloud.launch(request("c-2-1-a", spot, annotations=requirement))
        assert kind_of(refused) is Kind.INVALID
        assert "chinampa.dev/capacity-reservation" in str(refused.fault)


async def test_a_full_reservation_takes_no_offer_from_pods_without_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud, most=5)
        requirement = {"chinampa.dev/capacity-reservation": "cr-0123456789abcdef0"}
        on.front.rules.limit(code="ReservationCapacityExceeded")
        refused = await on.cloud.launch(request("c-1-1-a", offers, annotations=requirement))
        assert kind_of(refused) is Kind.UNAVAILABLE, "it is asked again, for the same"
        assert not refused.unfulfilled
        assert "instance-type" in str(refused.fault)


@pytest.mark.parametrize("fleets", [True, False])
async def test_a_pod_whose_wish_ec2_does_not_know_is_told_and_nothing_is_taken_from_the_others(
    tmp_path: Path, fleets: bool
) -> None:
    async with stage(tmp_path, fleets=fleets) as on:
        on.front.rules.limit(code="InvalidGroup.NotFound")
        requirement = {"chinampa.dev/security-groups": "sg-typo"}
        refused = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud), annotations=requirement))
        assert kind_of(refused) is Kind.INVALID
        assert "chinampa.dev/security-groups" in str(refused.fault)
        assert not refused.unfulfilled
        assert on.front.count("CreateFleet", "RunInstances") == 1, "it is not asked for over and over"


async def test_without_fleets_a_type_that_cannot_be_launched_as_asked_is_passed_over(tmp_path: Path) -> None:
    async with stage(tmp_path, fleets=False) as on:
        offers = await cheapest(on.cloud)
        first = offers[0].shape.type
        on.front.rules.limit(first, code="InvalidParameterCombination")
        launched = await on.cloud.launch(request("c-1-1-a", offers))
        assert launched.instance is not None, launched.fault
        assert launched.instance.type != first
        assert {each.type for each in launched.unfulfilled} == {first}


async def test_where_ec2_only_fails_for_spot_the_pods_that_allow_both_run_on_demand(tmp_path: Path) -> None:
    async with stage(tmp_path) as on, on.reopen(patience_seconds=5.0) as cloud:
        both = (*await cheapest(cloud, LaunchType.SPOT, 5), *await cheapest(cloud, most=5))
        on.front.rules.fail_market("spot", "InternalError")
        launched = await cloud.launch(request("c-1-1-a", both))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.ON_DEMAND
        assert not launched.unfulfilled, "no offer is to blame"
        before = on.front.count("CreateFleet")
        successor = await cloud.launch(request("c-2-1-a", both))
        assert successor.instance is not None, successor.fault
        assert on.front.count("CreateFleet") == before + 1, "the market that fails is not tried first again"
        assert len(await on.alive()) == 2


async def test_a_pod_that_wants_spot_only_is_asked_for_again_with_the_same_call_while_ec2_fails(tmp_path: Path) -> None:
    async with stage(tmp_path) as on, on.reopen(patience_seconds=5.0) as cloud:
        spot = await cheapest(cloud, LaunchType.SPOT, 5)
        on.front.rules.fail_market("spot", "InternalError")
        failed = await cloud.launch(request("c-1-1-a", spot))
        assert kind_of(failed) is Kind.UNAVAILABLE
        on.front.rules.heal()
        launched = await cloud.launch(request("c-1-1-a", spot))
        assert launched.instance is not None, launched.fault
        calls = [call for call in on.front.calls if call.action == "CreateFleet"]
        assert len({call.parameters["ClientToken"] for call in calls}) == 1
        assert len(await on.alive()) == 1


async def test_a_spot_instance_that_was_launched_behind_an_error_is_found_and_no_other_is_bought(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as on, on.reopen(patience_seconds=5.0) as cloud:
        both = (*await cheapest(cloud, LaunchType.SPOT, 5), *await cheapest(cloud, most=5))
        on.front.rules.fail_market("spot", "InternalError", carried_out=True)
        launched = await cloud.launch(request("c-1-1-a", both))
        assert launched.instance is not None or kind_of(launched) is Kind.UNAVAILABLE
        on.front.rules.heal()
        launched = await cloud.launch(request("c-1-1-a", both))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.SPOT
        assert len(await on.alive()) == 1


async def test_a_reservation_says_its_own_type_and_zone_or_why_it_does_not_do(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.reservations = {
            "cr-1": ("m7i.large", ZONES[0], "active"),
            "cr-2": ("m7i.large", ZONES[0], "expired"),
            "cr-3": ("m7i.large", "us-east-1f", "active"),
        }

        def named(value: str) -> dict[str, str]:
            return {"chinampa.dev/capacity-reservation": value}

        assert await on.cloud.reserved({}) is None
        for _ in range(2):
            assert await on.cloud.reserved(named("cr-1")) == Reserved(type="m7i.large", zone=ZONES[0])
        assert on.front.count("DescribeCapacityReservations") == 1, "it is remembered"
        for name, why in (("cr-2", "expired"), ("cr-3", "us-east-1f"), ("cr-4", "does not exist")):
            with pytest.raises(Fault, match=f"{name}.*{why}") as caught:
                await on.cloud.reserved(named(name))
            assert caught.value.kind is Kind.INVALID
        on.front.rules.fail("DescribeCapacityReservations", "UnauthorizedOperation")
        assert await on.cloud.reserved(named("cr-5")) is None, "an older role may not ask: the pod says type and zone"
