"""The offers that fit a pod, cheapest first. Pure.

The price that counts is what the pod will cost: a burstable type that is asked for more than its baseline pays for the
difference. Offers are looked at in order of their list price and an effective price is never below it, so the search
ends as soon as no cheaper offer can follow.
"""

from __future__ import annotations

import heapq
from collections import Counter

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import Catalogue
from controller.choice.filters import rejection
from controller.choice.requirements import Requirements
from controller.choice.unavailable import Unavailable
from controller.model.offer import Demand, Offer

# USD per vCPU-hour beyond the baseline in unlimited mode, Linux (Amazon EC2 on-demand pricing, "T2/T3/T4g unlimited").
SURCHARGE = {"amd64": 0.05, "arm64": 0.04}
# CreateFleet takes no more overrides than this is good for, and nobody reads further down a list.
MOST = 60


_SIZES = frozenset({"cpu", "memory", "network"})


class Ranked(msgspec.Struct, frozen=True):
    """One offer that fits, and what it will cost in USD per hour."""

    offer: Offer
    usd_per_hour: float


class Ranking(msgspec.Struct, frozen=True):
    """Offers that fit, cheapest first; at most `MOST`, or as many as were asked for."""

    ranked: tuple[Ranked, ...]

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The offers alone."""
        return tuple(each.offer for each in self.ranked)


def effective_price(demand: Demand, offer: Offer) -> float:
    """USD per hour with the surcharge for sustained use above a burstable type's baseline."""
    above = demand.cpu_millis - offer.shape.baseline_millis
    if not offer.shape.burstable or above <= 0:
        return offer.usd_per_hour
    return offer.usd_per_hour + above / 1000 * SURCHARGE.get(offer.shape.architecture, SURCHARGE["amd64"])


def rank(
    demand: Demand,
    requirements: Requirements,
    catalogue: Catalogue,
    unavailable: Unavailable,
    now: float,
    most: int = MOST,
) -> Ranking:
    """Rank the offers that fit. Among equals the current generation, then the smaller, then the name decides."""
    catalogue = catalogue.of(requirements)
    best: list[tuple[float, bool, int, str, str, Offer]] = []
    ceiling = requirements.max_price or float("inf")
    limit = ceiling
    cpu, memory = demand.cpu_millis, demand.memory_mib
    for price, has_cpu, has_memory, _baseline, offer in catalogue.columns:
        if price > limit:
            break
        if has_cpu < cpu or has_memory < memory or rejection(demand, requirements, offer)[0]:
            continue
        if unavailable.has(offer.shape.type, offer.zone, offer.launch_type, now):
            continue
        costs = effective_price(demand, offer)
        if costs > ceiling:
            continue
        best.append((costs, not offer.shape.current_generation, has_memory, offer.shape.type, offer.zone, offer))
        if len(best) == 2 * most:
            best = heapq.nsmallest(most, best, key=_order)
            limit = min(ceiling, best[-1][0])
    best.sort(key=_order)
    return Ranking(tuple(Ranked(entry[-1], entry[0]) for entry in best[:most]))


def _order(entry: tuple[float, bool, int, str, str, Offer]) -> tuple[float, bool, int, str, str]:
    return entry[:5]


class Explanation(msgspec.Struct, frozen=True):
    """What fits and, for what does not, how many offers each filter turned away, with the one in words that came
    nearest: the dearest that is too small, else the cheapest.
    """

    ranking: Ranking
    rejected: dict[str, int]
    examples: dict[str, str]
    considered: int


def explain(
    demand: Demand, requirements: Requirements, catalogue: Catalogue, unavailable: Unavailable, now: float
) -> Explanation:
    """Ranking with reasons, for a person who asks. Looks at every offer."""
    catalogue = catalogue.of(requirements)
    ranking = rank(demand, requirements, catalogue, unavailable, now)
    rejected: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for offer in catalogue.offers:
        name, why = rejection(demand, requirements, offer)
        shape = offer.shape.type
        if not name and requirements.max_price and effective_price(demand, offer) > requirements.max_price:
            name, why = "max-price", f"it costs {effective_price(demand, offer):.4f} USD/h of {requirements.max_price}"
        if not name and unavailable.has(shape, offer.zone, offer.launch_type, now):
            name, why = "capacity", "the cloud refused it lately for want of capacity"
        if name:
            rejected[name] += 1
            if name not in examples or name in _SIZES:
                examples[name] = f"{shape} in {offer.zone}: {why}"
    return Explanation(ranking, dict(rejected), examples, len(catalogue.offers))


def nothing_fits(
    demand: Demand, requirements: Requirements, catalogue: Catalogue, unavailable: Unavailable, now: float
) -> Fault:
    """Why no offer does, for the person whose pod waits: the demand that the nearest offers fail."""
    found = explain(demand, requirements, catalogue, unavailable, now)
    if set(found.rejected) and "capacity" in found.rejected:
        count = found.rejected["capacity"]
        return Fault(
            Kind.NO_CAPACITY,
            f"demand of {demand.cpu_millis}m CPU, {demand.memory_mib} MiB memory, {demand.gpus} GPUs",
            f"all {count} offers that fit were refused lately by the cloud",
            "they are tried again within 3 minutes",
            reason="InsufficientCapacity",
        )
    reasons = "; ".join(f"{count} by {name} ({found.examples[name]})" for name, count in found.rejected.items())
    return Fault(
        Kind.INVALID,
        f"demand of {demand.cpu_millis}m CPU, {demand.memory_mib} MiB memory, {demand.gpus} GPUs",
        f"no instance type meets it: of {found.considered} offers are turned away {reasons or 'none'}",
        "ask for less, or change the chinampa.dev annotations",
        reason="NoTypeFits",
    )
