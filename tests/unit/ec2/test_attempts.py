"""What is asked of CreateFleet, and what its answer means."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Kind
from controller.clouds.ec2.launch import attempts
from controller.clouds.ec2.launch.attempts import CallRefusal, Frame
from controller.clouds.ec2.network.environment import Ec2Environment
from controller.model.offer import LaunchType, Offer, Shape

PLACE = Ec2Environment(
    account="1",
    vpc="vpc-1",
    zones={"subnet-a1": "a", "subnet-a2": "a", "subnet-b": "b"},
    security_group="sg-1",
    images={"amd64": "ami-1"},
    roots={"ami-1": ("/dev/xvda", 8)},
)


def offer(
    type_: str,
    zone: str = "a",
    market: LaunchType = LaunchType.ON_DEMAND,
    architecture: str = "amd64",
    *,
    burstable: bool = False,
    cpus: int = 1,
) -> Offer:
    shape = Shape(
        type=type_,
        architecture=architecture,
        cpu_millis=1000 * cpus,
        memory_mib=1024,
        baseline_millis=1000,
        burstable=burstable,
    )
    return Offer(shape=shape, zone=zone, launch_type=market, usd_per_hour=1.0)


OFFERS = st.lists(
    st.builds(
        offer,
        st.sampled_from([f"m{number}.large" for number in range(90)]),
        st.sampled_from(["a", "b", "nowhere"]),
        st.sampled_from(list(LaunchType)),
        st.sampled_from(["amd64", "arm64"]),
    ),
    max_size=300,
)


@given(OFFERS)
def test_a_fleet_is_within_ec2s_bounds_in_one_market_and_by_our_ranking(offers: list[Offer]) -> None:
    for attempt in attempts.attempts(offers, PLACE):
        asked = attempts.fleet(attempt, dict.fromkeys(attempts.builds(attempt), Frame("x", {})), 3, "")
        overrides = [each for config in asked["LaunchTemplateConfigs"] for each in config["Overrides"]]
        assert 0 < len(overrides) <= 300
        assert len({each["InstanceType"] for each in overrides}) <= 60
        pools = [(each["InstanceType"], PLACE.zones[each["SubnetId"]]) for each in overrides]
        assert len(pools) == len(set(pools)), "EC2 refuses a fleet with a type in two subnets of one zone"
        ranked = sorted(overrides, key=lambda each: each["Priority"])
        best = offers[min(option.rank for option in attempt.options)]
        assert (ranked[0]["InstanceType"], attempt.market) == (best.shape.type, best.launch_type)


@given(OFFERS)
def test_every_offer_in_our_zones_is_in_one_attempt_and_none_is_after_a_worse_one_of_its_market(
    offers: list[Offer],
) -> None:
    made = attempts.attempts(offers, PLACE)
    for market in LaunchType:
        ranks = [option.rank for attempt in made if attempt.market is market for option in attempt.options]
        assert ranks == sorted(ranks)
        sold = {rank for rank, each in enumerate(offers) if each.launch_type is market and each.zone != "nowhere"}
        assert set(ranks) <= sold
        if len({offers[rank].shape.type for rank in sold}) <= 60:
            assert set(ranks) == sold


def test_spot_that_is_dearer_than_on_demand_is_bought_when_on_demand_is_not_to_be_had() -> None:
    offers = [offer("m1", market=LaunchType.SPOT), offer("m1"), offer("m2", market=LaunchType.SPOT), offer("m2")]
    made = [(each.market.value, [option.type for option in each.options]) for each in attempts.attempts(offers, PLACE)]
    assert made == [("spot", ["m1", "m1"]), ("on-demand", ["m1", "m1", "m2", "m2"]), ("spot", ["m2", "m2"])]


def test_each_type_is_made_by_the_template_of_its_architecture_and_its_credits() -> None:
    offers = [offer("t3.nano", burstable=True), offer("m7i.large"), offer("m7g.medium", architecture="arm64")]
    (attempt,) = attempts.attempts(offers, PLACE)
    frames = {build: Frame(f"{build.architecture}-{build.burstable}", {}) for build in attempts.builds(attempt)}
    made = {
        config["LaunchTemplateSpecification"]["LaunchTemplateName"]: {
            each["InstanceType"] for each in config["Overrides"]
        }
        for config in attempts.fleet(attempt, frames, 1, "")["LaunchTemplateConfigs"]
    }
    assert made == {"amd64-True": {"t3.nano"}, "amd64-False": {"m7i.large"}, "arm64-False": {"m7g.medium"}}


def test_all_subnets_of_an_offers_zone_have_its_priority() -> None:
    (attempt,) = attempts.attempts([offer("m1", "b"), offer("m2", "a")], PLACE)
    assert [(each.subnet, each.rank) for each in attempt.options] == [
        ("subnet-b", 0),
        ("subnet-a1", 1),
        ("subnet-a2", 1),
    ]


def test_the_market_that_the_ranking_names_first_is_tried_first() -> None:
    spot, paid = offer("m1", market=LaunchType.SPOT), offer("m2")
    assert [each.market for each in attempts.attempts([spot, paid], PLACE)] == [LaunchType.SPOT, LaunchType.ON_DEMAND]
    assert [each.market for each in attempts.attempts([paid, spot], PLACE)] == [LaunchType.ON_DEMAND, LaunchType.SPOT]


def test_spot_of_more_than_twice_the_cheapest_is_for_when_that_cannot_be_had() -> None:
    offers = [
        msgspec.structs.replace(offer(type_, market=market), usd_per_hour=usd)
        for type_, market, usd in (
            ("m1", LaunchType.SPOT, 0.01),
            ("m2", LaunchType.SPOT, 0.02),
            ("m3", LaunchType.SPOT, 0.03),
            ("m4", LaunchType.ON_DEMAND, 0.04),
            ("m5", LaunchType.SPOT, 0.05),
        )
    ]
    tried = [(each.market, {option.type for option in each.options}) for each in attempts.attempts(offers, PLACE)]
    assert tried == [
        (LaunchType.SPOT, {"m1", "m2"}),
        (LaunchType.SPOT, {"m3"}),
        (LaunchType.ON_DEMAND, {"m4"}),
        (LaunchType.SPOT, {"m5"}),
    ]


def error(code: str, subnet: str = "subnet-a1", type_: str = "m1", message: str = "") -> dict[str, Any]:
    return {
        "ErrorCode": code,
        "ErrorMessage": message,
        "Lifecycle": "spot",
        "LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": type_, "SubnetId": subnet}},
    }


def test_each_capacity_error_is_an_offer_to_leave_alone_and_others_are_not() -> None:
    answer = {"Errors": [error("InsufficientInstanceCapacity"), error("RequestLimitExceeded", type_="m2")]}
    refused = attempts.refusals(answer, LaunchType.SPOT)
    (told,) = attempts.unfulfilled(refused, (), PLACE)
    assert (told.type, told.zone, told.launch_type, told.code) == ("m1", "a", "spot", "InsufficientInstanceCapacity")


UNTRIED = "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again."


def test_what_a_fleet_did_not_try_is_neither_refused_nor_given_up() -> None:
    (attempt,) = attempts.attempts([offer(f"m{number}", "b") for number in range(5)], PLACE)
    answer = {
        "Errors": [
            error("InsufficientInstanceCapacity", "subnet-b", "m0"),
            *(error("UnfulfillableCapacity", "subnet-b", f"m{number}", UNTRIED) for number in range(1, 5)),
        ]
    }
    refused = attempts.refusals(answer, LaunchType.ON_DEMAND)
    assert [each.type for each in attempts.unfulfilled(refused, attempt.options, PLACE)] == ["m0"]
    assert [each.type for each in attempts.without(attempt, refused).options] == ["m1", "m2", "m3", "m4"]
    none_told = attempts.refusals({"Errors": answer["Errors"][1:]}, LaunchType.ON_DEMAND)
    assert len(none_told) == 4, "a market that has nothing for any of them"


def test_a_type_that_a_zone_does_not_have_is_an_offer_to_leave_alone() -> None:
    words = "Your requested instance type (m1) is not supported in your requested Availability Zone (a)."
    refused = attempts.refusals({"Errors": [error("InvalidFleetConfiguration", message=words)]}, LaunchType.SPOT)
    assert [each.type for each in attempts.unfulfilled(refused, (), PLACE)] == ["m1"]
    assert attempts.verdict(refused).kind is Kind.NO_CAPACITY


def test_an_exhausted_quota_is_that_of_all_types_of_its_class_that_are_as_large() -> None:
    offers = [
        offer("t3.small", cpus=2),
        offer("m7g.medium"),
        offer("im4gn.large", cpus=2),
        offer("c7i.xlarge", cpus=4),
        offer("g5.xlarge", cpus=4),
        offer("inf2.xlarge", cpus=4),
    ]
    (attempt,) = attempts.attempts(offers, PLACE)
    refusal = CallRefusal("t3.small", "subnet-a1", LaunchType.ON_DEMAND, "VcpuLimitExceeded")
    left = attempts.without(attempt, [refusal])
    assert {each.type for each in left.options} == {"m7g.medium", "g5.xlarge", "inf2.xlarge"}
    told = attempts.unfulfilled([refusal], attempt.options, PLACE)
    assert {each.type for each in told} == {"t3.small", "im4gn.large", "c7i.xlarge"}


def test_a_type_that_cannot_be_launched_so_ends_nothing_while_another_may_be_had_later() -> None:
    capacity = CallRefusal("m1", "subnet-b", LaunchType.SPOT, "InsufficientInstanceCapacity")
    invalid = CallRefusal("m2", "subnet-b", LaunchType.SPOT, "InvalidParameterCombination", "its firmware is another")
    assert attempts.verdict([invalid, capacity]).kind is Kind.NO_CAPACITY
    assert {each.type for each in attempts.unfulfilled([invalid, capacity], (), PLACE)} == {"m1", "m2"}
    why = attempts.verdict([invalid])
    assert why.kind is Kind.INVALID
    assert "its firmware is another" in str(why)


def test_what_is_wrong_with_one_pods_request_takes_no_offer_from_the_others() -> None:
    words = "Value (typo) for parameter iamInstanceProfile.name is invalid."
    invalid = CallRefusal("m1", "subnet-b", LaunchType.SPOT, "InvalidParameterValue", words)
    assert not attempts.unfulfilled([invalid], (), PLACE)
    assert attempts.verdict([invalid]).kind is Kind.INVALID
    words = "The architecture 'arm64' of the specified instance type does not match that of the specified AMI."
    assert attempts.unfulfilled([msgspec.structs.replace(invalid, message=words)], (), PLACE)


def test_what_is_not_there_is_not_there_for_any_type_and_asking_again_does_not_help() -> None:
    (attempt,) = attempts.attempts([offer("m1"), offer("t1", burstable=True), offer("a1", architecture="arm64")], PLACE)
    left = {
        code: {option.type for option in attempts.without(attempt, [refusal]).options}
        for code in ("InvalidGroup.NotFound", "InvalidAMIID.NotFound", "InvalidSubnetID.NotFound")
        if (refusal := CallRefusal("m1", "subnet-a1", LaunchType.ON_DEMAND, code))
    }
    assert left == {
        "InvalidGroup.NotFound": set(),
        "InvalidAMIID.NotFound": {"a1"},
        "InvalidSubnetID.NotFound": {"m1", "t1", "a1"},
    }
    why = attempts.verdict([CallRefusal("m1", "subnet-a1", LaunchType.ON_DEMAND, "InvalidGroup.NotFound")])
    assert why.kind is Kind.INVALID
    assert "chinampa.dev/security-groups" in str(why)


def test_a_full_subnet_spoils_an_offer_only_when_its_zone_has_no_other() -> None:
    (attempt,) = attempts.attempts([offer("m1")], PLACE)
    one = [CallRefusal("m1", "subnet-a1", LaunchType.ON_DEMAND, attempts.FULL_SUBNET)]
    both = [*one, msgspec.structs.replace(one[0], subnet="subnet-a2")]
    assert not attempts.unfulfilled(one, attempt.options, PLACE)
    assert len(attempts.unfulfilled(both, attempt.options, PLACE)) == 1


def test_a_fleet_launches_in_a_zones_other_subnet_when_the_first_is_full_whatever_the_type() -> None:
    (attempt,) = attempts.attempts([offer("m1"), offer("m2"), offer("m1", "b")], PLACE)
    left = attempts.without(attempt, [CallRefusal("m1", "subnet-a1", LaunchType.ON_DEMAND, attempts.FULL_SUBNET)])
    chosen = [(each.type, each.subnet) for each in attempts.one_of_each_pool(left.options)]
    assert chosen == [("m1", "subnet-a2"), ("m2", "subnet-a2"), ("m1", "subnet-b")]


def test_a_subnet_that_is_known_to_be_full_is_tried_last_in_its_zone() -> None:
    (attempt,) = attempts.attempts([offer("m1"), offer("m2", "b")], PLACE, full=["subnet-a1"])
    assert [each.subnet for each in attempt.options] == ["subnet-a2", "subnet-a1", "subnet-b"]


def test_the_verdict_is_the_refusal_about_which_most_must_be_done() -> None:
    capacity = CallRefusal("m1", "subnet-b", LaunchType.SPOT, "InsufficientInstanceCapacity")
    denied = CallRefusal("m2", "subnet-b", LaunchType.SPOT, "UnauthorizedOperation", "no right")
    why = attempts.verdict([capacity, denied])
    assert why.kind is Kind.DENIED
    assert "UnauthorizedOperation" in str(why)
    why = attempts.verdict([capacity])
    assert why.kind is Kind.NO_CAPACITY
    assert "m1" in str(why)


def test_a_refusal_without_a_type_and_a_missing_spot_role_are_refusals_of_all_options_of_their_market() -> None:
    (attempt,) = attempts.attempts([offer("m1", market=LaunchType.SPOT), offer("m2", "b", LaunchType.SPOT)], PLACE)
    for refusal in (
        CallRefusal("", "", LaunchType.SPOT, "InstanceLimitExceeded"),
        CallRefusal("m1", "subnet-a1", LaunchType.SPOT, "AuthFailure.ServiceLinkedRoleCreationNotPermitted"),
    ):
        told = attempts.unfulfilled([refusal], attempt.options, PLACE)
        assert {(each.type, each.zone, each.launch_type) for each in told} == {("m1", "a", "spot"), ("m2", "b", "spot")}
    why = attempts.verdict([refusal])
    assert why.kind is Kind.NO_CAPACITY
    assert "create-service-linked-role" in str(why)


def test_an_answer_with_nothing_in_it_has_no_refusals() -> None:
    assert attempts.refusals({}, LaunchType.SPOT) == ()
    assert attempts.verdict(()).kind is Kind.NO_CAPACITY
