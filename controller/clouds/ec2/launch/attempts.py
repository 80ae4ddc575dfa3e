"""The calls that a batch is launched by, in order: which offers, in which market, with what priorities. Pure.

One fleet buys in one market, so offers are split by market in the order in which the ranking first names it: spot first
falls back to on-demand where the pod allows both. A spot fleet takes what EC2 has most of, cheapest first only where it
can; so much dearer spot has a fleet of its own after it, and spot that is dearer than on-demand is the last resort. A
fleet that could not give all is followed by one over what it did not refuse.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.launch.launch_spec import Build
from controller.clouds.ec2.network.environment import Ec2Environment
from controller.clouds.protocol import Unfulfilled
from controller.model.offer import LaunchType, Offer

# CreateFleet takes 300 overrides; beyond 60 types nothing is won.
MOST_OVERRIDES = 300
MOST_TYPES = 60
# What EC2 may choose from by capacity alone costs at most so many times the cheapest.
SPOT_SPREAD = 2.0
FULL_SUBNET = "InsufficientFreeAddressesInSubnet"
# A fleet tries three of its options at most, and tells the others with this code and these words: seen by others in
# October 2026 (six options of which none could be had), the API reference does not say it.
SHORT = "UnfulfillableCapacity"
_UNTRIED = (SHORT, "due to your request configuration")
# In a fleet's answer the code of a type that is not sold in the zone, which RunInstances calls Unsupported.
_NOT_SOLD = ("InvalidFleetConfiguration", "Availability Zone")
# Codes, and words of messages, by which a type cannot be launched as all are here: another may be. Other invalid
# requests are one pod's (an instance profile that is not there, say), and must not take offers from all pods.
_OF_THE_TYPE = frozenset({"InvalidParameterCombination", "InvalidFleetConfiguration"})
_OF_THE_TYPE_WORDS = ("instance type", "instancetype")
_NO_SUBNET = "InvalidSubnetID.NotFound"
_NO_IMAGE = "InvalidAMIID.NotFound"
_SEVERITY = {Kind.DENIED: 0, Kind.UNAVAILABLE: 1, Kind.NO_CAPACITY: 2}
# What refuses a type for its class's limit of vCPUs: the same for every type of the class that is as large. Classes of
# instance families as in "Amazon EC2 service quotas", On-Demand and Spot instance limits.
_VCPU_LIMITS = frozenset({"VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"})
_FAMILY = re.compile(r"[a-z]+")
_NAMED = {"g": "g", "gr": "g", "vt": "g", "u": "u", "dl": "dl", "hpc": "hpc", "inf": "inf", "trn": "trn", "mac": "mac"}
_STANDARD = frozenset("acdhimrtz")


class Option(msgspec.Struct, frozen=True):
    """One type in one subnet; `rank` is that of its offer, 0 the best."""

    type: str
    zone: str
    subnet: str
    build: Build
    rank: int
    cpus: int


class Attempt(msgspec.Struct, frozen=True):
    """What one fleet may choose from."""

    market: LaunchType
    options: tuple[Option, ...]


class CallRefusal(msgspec.Struct, frozen=True):
    """An option that was refused, or (without a type) the whole call."""

    type: str
    subnet: str
    market: LaunchType
    code: str
    message: str = ""


def attempts(offers: Sequence[Offer], place: Ec2Environment, full: Collection[str] = ()) -> tuple[Attempt, ...]:
    """One attempt for each market, the better ranked first; more for spot that is much dearer than the cheapest, and
    for spot that is ranked after on-demand. Of a zone's subnets those that are `full` come last.
    """
    paid = next((rank for rank, offer in enumerate(offers) if offer.launch_type is LaunchType.ON_DEMAND), len(offers))
    spot = [offer.usd_per_hour for offer in offers if offer.launch_type is LaunchType.SPOT]
    much = SPOT_SPREAD * min(spot, default=0.0)
    groups: dict[tuple[LaunchType, bool, bool], list[Option]] = {}
    for rank, offer in enumerate(offers):
        is_spot = offer.launch_type is LaunchType.SPOT
        last, dear = is_spot and rank > paid, is_spot and offer.usd_per_hour > much
        options = groups.setdefault((offer.launch_type, last, dear and not last), [])
        build = Build(offer.shape.architecture, offer.shape.burstable)
        options.extend(
            Option(offer.shape.type, offer.zone, subnet, build, rank, offer.shape.cpu_millis // 1000)
            for subnet in sorted(place.subnets_of(offer.zone), key=full.__contains__)
        )
    return tuple(Attempt(market, _bounded(options)) for (market, *_), options in groups.items() if options)


def _bounded(options: Iterable[Option]) -> tuple[Option, ...]:
    kept: list[Option] = []
    types: set[str] = set()
    pools: set[tuple[str, str]] = set()
    for option in options:
        pool = (option.type, option.zone)
        if pool not in pools and len(pools) == MOST_OVERRIDES:
            break
        if option.type in types or len(types) < MOST_TYPES:
            types.add(option.type)
            pools.add(pool)
            kept.append(option)
    return tuple(kept)


def one_of_each_pool(options: Iterable[Option]) -> tuple[Option, ...]:
    """The first option of each type and zone. EC2 refuses a whole fleet that has a type in two subnets of one zone
    ("duplicate instance pools"): the other subnets are for the next fleet, should the first be full.
    """
    first: dict[tuple[str, str], Option] = {}
    for option in options:
        first.setdefault((option.type, option.zone), option)
    return tuple(first.values())


def builds(attempt: Attempt) -> tuple[Build, ...]:
    """The builds among its options."""
    return tuple(sorted({option.build for option in attempt.options}, key=msgspec.structs.astuple))


def without(attempt: Attempt, refused: Collection[CallRefusal]) -> Attempt:
    """The attempts that are left after refusals."""
    gone = {option for each in refused for option in meant(each, attempt.options)}
    return Attempt(attempt.market, tuple(each for each in attempt.options if each not in gone))


def meant(refusal: CallRefusal, options: Iterable[Option]) -> tuple[Option, ...]:
    """Of all options those that a refusal tells of: mostly one, but a limit of the account's is one of many."""
    options = tuple(options)
    if not refusal.type or refusal.code in errors.WHOLE_MARKET:
        return options
    if refusal.code in {FULL_SUBNET, _NO_SUBNET}:
        return tuple(each for each in options if each.subnet == refusal.subnet)
    here = tuple(each for each in options if (each.type, each.subnet) == (refusal.type, refusal.subnet))
    if errors.kind_of(refusal.code) is Kind.NOT_FOUND:
        architectures = {each.build.architecture for each in here if refusal.code == _NO_IMAGE}
        return tuple(each for each in options if not architectures or each.build.architecture in architectures)
    if refusal.code not in _VCPU_LIMITS or not here:
        return here
    least, its_class = here[0].cpus, quota_class(refusal.type)
    return tuple(each for each in options if each.cpus >= least and quota_class(each.type) == its_class)


class Frame(msgspec.Struct, frozen=True):
    """How one build is made: the name of its launch template, and what is said beside it (`launch_spec.beside`)."""

    template: str
    beside: dict[str, Any]


def fleet(
    attempt: Attempt, frames: Mapping[Build, Frame], count: int, user_data: str, most: str = ""
) -> dict[str, Any]:
    """CreateFleet's parameters but for token and tags. `user_data` is in base64, `most` what spot may cost for good."""
    spot = attempt.market is LaunchType.SPOT
    bound = {"MaxPrice": most} if spot and most else {}
    chosen = one_of_each_pool(attempt.options)
    strategy: dict[str, Any] = (
        {"SpotOptions": {"AllocationStrategy": "capacity-optimized-prioritized"}}
        if spot
        else {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
    )
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateName": frame.template,
                    "Version": "$Latest",
                    "LaunchTemplateSpecificationUserData": user_data,
                },
                "Overrides": [
                    {
                        "InstanceType": option.type,
                        "SubnetId": option.subnet,
                        "Priority": float(option.rank),
                        **bound,
                        **frame.beside,
                    }
                    for option in chosen
                    if option.build == build
                ],
            }
            for build, frame in frames.items()
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": attempt.market.value,
        },
        **strategy,
    }


def refusals(answer: Mapping[str, Any], market: LaunchType) -> tuple[CallRefusal, ...]:
    """The errors in CreateFleet's answer, which has them also where instances were launched.

    Options that it did not try are left out, unless it tells of no other.
    """
    found: list[CallRefusal] = []
    untried: list[CallRefusal] = []
    for error in answer.get("Errors") or ():
        override = (error.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
        code, message = str(error.get("ErrorCode", "")), str(error.get("ErrorMessage", ""))
        refusal = CallRefusal(
            str(override.get("InstanceType", "")),
            str(override.get("SubnetId", "")),
            LaunchType(error.get("Lifecycle") or market.value),
            "Unsupported" if code == _NOT_SOLD[0] and _NOT_SOLD[1] in message else code,
            message,
        )
        (untried if code == _UNTRIED[0] and _UNTRIED[1] in message else found).append(refusal)
    return tuple(found or untried)


def full_subnets(refused: Iterable[CallRefusal]) -> frozenset[str]:
    """The subnets that have too few free addresses, or are no more, whatever type is launched in them."""
    return frozenset(each.subnet for each in refused if each.code in {FULL_SUBNET, _NO_SUBNET} and each.type)


def of_the_offer(refusal: CallRefusal) -> bool:
    """Whether another offer may do, and this one does for nobody now."""
    kind = errors.kind_of(refusal.code)
    if kind is not Kind.INVALID:
        return kind is Kind.NO_CAPACITY
    message = refusal.message.lower()
    return refusal.code in _OF_THE_TYPE or any(words in message for words in _OF_THE_TYPE_WORDS)


def unfulfilled(
    refused: Iterable[CallRefusal], options: Iterable[Option], place: Ec2Environment
) -> tuple[Unfulfilled, ...]:
    """The offers that the fleet is to leave alone for a while; a full subnet is none whose zone has another."""
    told: dict[tuple[str, str, str], Unfulfilled] = {}
    options, refused = tuple(options), tuple(refused)
    full = full_subnets(refused)
    for each in refused:
        if not of_the_offer(each):
            continue
        zone = place.zones.get(each.subnet, "")
        subnets = {option.subnet for option in options if option.zone == zone}
        if each.code == FULL_SUBNET and each.type and not subnets <= full:
            continue
        itself = ((each.type, zone),) if each.type and zone else ()
        for type_, its_zone in (*itself, *((option.type, option.zone) for option in meant(each, options))):
            key = (type_, its_zone, each.market.value)
            told[key] = Unfulfilled(type=type_, zone=its_zone, launch_type=each.market, code=each.code)
    return tuple(told.values())


def verdict(refused: Sequence[CallRefusal]) -> Fault:
    """Why nothing could be had, by the refusal about which most must be done."""
    if not refused:
        return Fault(Kind.NO_CAPACITY, "launch", "EC2 launched nothing and gave no reason")
    worst = min(refused, key=lambda each: _SEVERITY.get(errors.kind_of(each.code), len(_SEVERITY)))
    fault = errors.fault_of("ec2", "CreateFleet", worst.code, worst.message)
    if fault.kind is Kind.NOT_FOUND:
        # A group, an image, a key: asking again does not make it.
        return Fault(Kind.INVALID, fault.thing, fault.cause, fault.mend)
    if fault.kind is not Kind.NO_CAPACITY:
        return fault
    offers = dict.fromkeys(f"{each.type or 'all'} ({each.market.value}): {each.code}" for each in refused)
    shown = ", ".join(list(offers)[:5]) + (f" and {len(offers) - 5} more" if len(offers) > 5 else "")
    mends = dict.fromkeys(mend for each in refused if (mend := errors.mend_of(each.code)))
    again = "; ".join((*mends, "they are asked for again in 3 minutes"))
    return Fault(Kind.NO_CAPACITY, "EC2 has none of the offers now", shown, again)


def quota_class(type_: str) -> str:
    """The class whose limit a type counts against, such as "standard" for m7g.large. Types of two classes differ."""
    found = _FAMILY.match(type_)
    family = found.group() if found else ""
    if family in _NAMED:
        return _NAMED[family]
    return "standard" if family[:1] in _STANDARD else family[:1]
