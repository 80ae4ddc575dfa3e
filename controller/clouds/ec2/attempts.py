"""The calls that a batch is launched by, in order: which offers, in which market, with what priorities. Pure.

One fleet buys in one market, so offers are split by market in the order in which the ranking first names it: spot first
falls back to on-demand where the pod allows both. A fleet that could not give all is followed by one over what it did
not refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cellwire.faults import Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.form import Build, Place
from controller.clouds.protocol import Unfulfilled
from controller.model.offer import LaunchType, Offer

# CreateFleet takes 300 overrides; beyond 60 types nothing is won.
MOST_OVERRIDES = 300
MOST_TYPES = 60
FULL_SUBNET = "InsufficientFreeAddressesInSubnet"
_SEVERITY = {Kind.DENIED: 0, Kind.INVALID: 1, Kind.UNAVAILABLE: 2}


class Option(msgspec.Struct, frozen=True):
    """One type in one subnet; `rank` is that of its offer, 0 the best."""

    type: str
    zone: str
    subnet: str
    build: Build
    rank: int


class Attempt(msgspec.Struct, frozen=True):
    """What one fleet may choose from."""

    market: LaunchType
    options: tuple[Option, ...]


class Refusal(msgspec.Struct, frozen=True):
    """An option that was refused, or (without a type) the whole call."""

    type: str
    subnet: str
    market: LaunchType
    code: str
    message: str = ""


def attempts(offers: Sequence[Offer], place: Place) -> tuple[Attempt, ...]:
    """One attempt for each market, the better ranked first."""
    by_market: dict[LaunchType, list[Option]] = {}
    for rank, offer in enumerate(offers):
        options = by_market.setdefault(offer.launch_type, [])
        build = Build(offer.shape.architecture, offer.shape.burstable)
        options.extend(
            Option(offer.shape.type, offer.zone, subnet, build, rank) for subnet in place.subnets_of(offer.zone)
        )
    return tuple(Attempt(market, _bounded(options)) for market, options in by_market.items() if options)


def _bounded(options: Iterable[Option]) -> tuple[Option, ...]:
    kept: list[Option] = []
    types: set[str] = set()
    for option in options:
        if len(kept) == MOST_OVERRIDES:
            break
        if option.type in types or len(types) < MOST_TYPES:
            types.add(option.type)
            kept.append(option)
    return tuple(kept)


def builds(attempt: Attempt) -> tuple[Build, ...]:
    """The builds among its options."""
    return tuple(sorted({option.build for option in attempt.options}, key=msgspec.structs.astuple))


def without(attempt: Attempt, refused: Collection[Refusal]) -> Attempt:
    """What is left to try after refusals."""
    gone = {(each.type, each.subnet) for each in refused}
    return Attempt(attempt.market, tuple(each for each in attempt.options if (each.type, each.subnet) not in gone))


def fleet(attempt: Attempt, templates: Mapping[Build, str], count: int) -> dict[str, Any]:
    """CreateFleet's parameters but for token and tags. `templates` are names of launch templates."""
    spot = attempt.market is LaunchType.SPOT
    strategy: dict[str, Any] = (
        {"SpotOptions": {"AllocationStrategy": "capacity-optimized-prioritized"}}
        if spot
        else {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
    )
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Latest"},
                "Overrides": [
                    {"InstanceType": option.type, "SubnetId": option.subnet, "Priority": float(option.rank)}
                    for option in attempt.options
                    if option.build == build
                ],
            }
            for build, template in templates.items()
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": attempt.market.value,
        },
        **strategy,
    }


def refusals(answer: Mapping[str, Any], market: LaunchType) -> tuple[Refusal, ...]:
    """The errors in CreateFleet's answer, which has them also where instances were launched."""
    found: list[Refusal] = []
    for error in answer.get("Errors") or ():
        override = (error.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
        lifecycle = error.get("Lifecycle") or market.value
        found.append(
            Refusal(
                str(override.get("InstanceType", "")),
                str(override.get("SubnetId", "")),
                LaunchType(lifecycle),
                str(error.get("ErrorCode", "")),
                str(error.get("ErrorMessage", "")),
            )
        )
    return tuple(found)


def unfulfilled(refused: Iterable[Refusal], options: Iterable[Option], place: Place) -> tuple[Unfulfilled, ...]:
    """The offers that the fleet is to leave alone for a while; a full subnet is none whose zone has another.

    A refusal that names no type is one of all the options.
    """
    told: dict[tuple[str, str, str], Unfulfilled] = {}
    options, refused = tuple(options), tuple(refused)
    known = {(option.type, option.subnet) for option in options}
    full = {(each.type, each.subnet) for each in refused if each.code == FULL_SUBNET and each.type}
    for each in refused:
        if each.code in errors.CAPACITY and (not each.type or each.code in errors.WHOLE_MARKET):
            for option in options:
                key = (option.type, option.zone, each.market.value)
                told[key] = Unfulfilled(type=key[0], zone=key[1], launch_type=key[2], code=each.code)
            continue
        zone = place.zones.get(each.subnet, "")
        if each.code not in errors.CAPACITY or not each.type or not zone:
            continue
        if (each.type, each.subnet) in full:
            others = {(each.type, subnet) for subnet in place.subnets_of(zone)} & known
            if not others <= full:
                continue
        key = (each.type, zone, each.market.value)
        told[key] = Unfulfilled(type=each.type, zone=zone, launch_type=each.market.value, code=each.code)
    return tuple(told.values())


def verdict(refused: Sequence[Refusal]) -> tuple[Kind, str]:
    """Why nothing could be had, by the refusal about which most must be done."""
    if not refused:
        return Kind.NO_CAPACITY, "EC2 launched nothing and gave no reason"
    worst = min(refused, key=lambda each: _SEVERITY.get(errors.kind_of(each.code), 3))
    kind = errors.kind_of(worst.code)
    if kind in _SEVERITY:
        return kind, str(errors.fault_of("ec2", "CreateFleet", worst.code, worst.message))
    offers = dict.fromkeys(f"{each.type or 'all'} ({each.market.value}): {each.code}" for each in refused)
    shown = ", ".join(list(offers)[:5]) + (f" and {len(offers) - 5} more" if len(offers) > 5 else "")
    mends = dict.fromkeys(mend for each in refused if (mend := errors.mend_of(each.code)))
    again = "; ".join((*mends, "they are asked for again in 3 minutes"))
    return Kind.NO_CAPACITY, f"EC2 has none of the offers now: {shown}; {again}"
