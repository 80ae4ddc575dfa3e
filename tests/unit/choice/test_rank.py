"""The choice is never too small and never dearer than another that fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import Catalogue
from controller.choice.filters import rejection
from controller.choice.rank import effective_price, explain, nothing_fits, rank
from controller.choice.requirements import Requirements, read
from controller.choice.unavailable import Unavailable, marked
from controller.model.offer import Demand, Gpus, LaunchType, Offer, Shape

SPOT_TOO = Requirements(launch_types=(LaunchType.ON_DEMAND, LaunchType.SPOT))


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    cpu = draw(st.sampled_from([1000, 2000, 4000, 8000]))
    is_burstable = draw(st.booleans())
    shape = Shape(
        type=f"{draw(st.sampled_from('abc'))}.{draw(st.sampled_from(['small', 'large']))}",
        architecture=draw(st.sampled_from(["amd64", "arm64"])),
        cpu_millis=cpu,
        memory_mib=draw(st.sampled_from([512, 1024, 4096, 8192])),
        baseline_millis=cpu // 5 if is_burstable else cpu,
        burstable=is_burstable,
        current_generation=draw(st.booleans()),
        gpus=draw(st.sampled_from([None, None, Gpus(1, "t4"), Gpus(4, "a100")])),
    )
    return Offer(
        shape=shape,
        zone=draw(st.sampled_from(["z-a", "z-b"])),
        launch_type=draw(st.sampled_from(LaunchType)),
        usd_per_hour=draw(st.integers(1, 1000)) / 1000,
    )


DEMANDS = st.builds(
    Demand,
    cpu_millis=st.integers(0, 9000),
    memory_mib=st.integers(0, 9000),
    gpus=st.sampled_from([0, 0, 1, 4]),
)
REQUIREMENTS = st.sampled_from(
    [
        Requirements(),
        SPOT_TOO,
        Requirements(any_generation=True),
        Requirements(architectures=("arm64",)),
        Requirements(burstable=False),
    ]
)


@given(found=st.lists(offers(), max_size=40), demand=DEMANDS, requirements=REQUIREMENTS, most=st.integers(1, 5))
def test_the_ranking_is_the_head_of_an_exhaustive_one(
    found: list[Offer], demand: Demand, requirements: Requirements, most: int
) -> None:
    fits = [offer for offer in found if not rejection(demand, requirements, offer)[0]]
    expected = sorted(effective_price(demand, offer) for offer in fits)[:most]
    ranked = rank(demand, requirements, Catalogue(found), Unavailable(), 0.0, most).ranked
    assert [each.usd_per_hour for each in ranked] == expected
    for each in ranked:
        assert each.offer.shape.cpu_millis >= demand.cpu_millis
        assert each.offer.shape.memory_mib >= demand.memory_mib


@given(found=st.lists(offers(), max_size=20), more=offers(), demand=DEMANDS, requirements=REQUIREMENTS)
def test_one_more_offer_never_raises_the_price(
    found: list[Offer], more: Offer, demand: Demand, requirements: Requirements
) -> None:
    before = rank(demand, requirements, Catalogue(found), Unavailable(), 0.0).ranked
    after = rank(demand, requirements, Catalogue([*found, more]), Unavailable(), 0.0).ranked
    if before:
        assert after[0].usd_per_hour <= before[0].usd_per_hour


def offer(name: str = "m.large", price: float = 0.1, **changes: object) -> Offer:
    fields: dict[str, object] = {
        "type": name, "architecture": "amd64", "cpu_millis": 2000, "memory_mib": 4096, "baseline_millis": 2000,
    }  # fmt: skip
    shape = Shape(**{**fields, **changes})  # pyright: ignore[reportArgumentType]
    return Offer(shape=shape, zone="z-a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=price)


def test_sustained_use_above_the_baseline_is_paid_for() -> None:
    burstable = offer("t.large", 0.08, burstable=True, baseline_millis=400)
    fixed = offer("m.large", 0.1)
    busy = Demand(cpu_millis=2000, memory_mib=100)
    idle = Demand(cpu_millis=300, memory_mib=100)
    catalogue = Catalogue([burstable, fixed])
    assert rank(busy, Requirements(), catalogue, Unavailable(), 0.0).offers[0] == fixed
    assert rank(idle, Requirements(), catalogue, Unavailable(), 0.0).offers[0] == burstable
    assert effective_price(busy, burstable) == pytest.approx(0.08 + 1.6 * 0.05)


def test_a_refused_offer_is_left_alone_for_its_time_only() -> None:
    catalogue = Catalogue([offer("a.large", 0.1), offer("b.large", 0.2)])
    memory = marked(Unavailable(), ("a.large", "z-a", LaunchType.ON_DEMAND), now=0.0)
    demand = Demand(cpu_millis=1, memory_mib=1)
    assert rank(demand, Requirements(), catalogue, memory, 10.0).offers[0].shape.type == "b.large"
    assert rank(demand, Requirements(), catalogue, memory, 181.0).offers[0].shape.type == "a.large"


def test_a_refusal_while_the_clock_was_ahead_is_not_heeded_for_longer_once_it_is_right() -> None:
    catalogue = Catalogue([offer("a.large", 0.1), offer("b.large", 0.2)])
    memory = marked(Unavailable(), ("a.large", "z-a", LaunchType.ON_DEMAND), now=3600.0)
    demand = Demand(cpu_millis=1, memory_mib=1)
    assert rank(demand, Requirements(), catalogue, memory, 3610.0).offers[0].shape.type == "b.large"
    assert rank(demand, Requirements(), catalogue, memory, 10.0).offers[0].shape.type == "a.large"
    assert not memory.refused(10.0)


def test_a_demand_that_no_type_meets_is_told_with_the_filter_that_turns_it_away() -> None:
    fault = nothing_fits(
        Demand(cpu_millis=64_000, memory_mib=1), Requirements(), Catalogue([offer()]), Unavailable(), 0.0
    )
    assert fault.kind is Kind.INVALID
    assert "64000m" in str(fault)
    assert "cpu" in str(fault)


def test_want_of_capacity_is_told_apart_from_an_impossible_demand() -> None:
    memory = marked(Unavailable(), ("m.large", "z-a", LaunchType.ON_DEMAND), now=0.0)
    fault = nothing_fits(Demand(cpu_millis=1, memory_mib=1), Requirements(), Catalogue([offer()]), memory, 1.0)
    assert fault.kind is Kind.NO_CAPACITY


def test_the_explanation_counts_what_each_filter_turned_away() -> None:
    found = explain(
        Demand(cpu_millis=1, memory_mib=1),
        Requirements(),
        Catalogue([offer(), offer("g.large", gpus=Gpus(1)), offer("x.metal", bare_metal=True)]),
        Unavailable(),
        0.0,
    )
    assert found.rejected == {"gpu": 1, "bare-metal": 1}
    assert [each.shape.type for each in found.ranking.offers] == ["m.large"]


def test_the_example_of_a_reason_is_the_offer_that_came_nearest() -> None:
    sold = Catalogue([offer(f"m.{size}", price) for size, price in (("small", 0.1), ("large", 0.2), ("huge", 0.9))])
    dear = explain(Demand(cpu_millis=1, memory_mib=1), Requirements(max_price=0.01), sold, Unavailable(), 0.0)
    assert dear.examples["max-price"].startswith("m.small")
    large = explain(Demand(cpu_millis=10**9, memory_mib=1), Requirements(), sold, Unavailable(), 0.0)
    assert large.examples["cpu"].startswith("m.huge")


def test_annotations_limit_the_choice() -> None:
    requirements = read({"chinampa.dev/instance-type": "m.*,c.*", "chinampa.dev/max-price": "0.15", "other/x": "y"})
    catalogue = Catalogue([offer("m.large", 0.1), offer("c.large", 0.2), offer("r.large", 0.05)])
    ranked = rank(Demand(cpu_millis=1, memory_mib=1), requirements, catalogue, Unavailable(), 0.0)
    assert [each.shape.type for each in ranked.offers] == ["m.large"]


@pytest.mark.parametrize(
    "annotation",
    [
        {"chinampa.dev/instance-typ": "x"},
        {"chinampa.dev/max-price": "-1"},
        {"chinampa.dev/max-price": "1_0"},
        {"chinampa.dev/volume-size": "٣Gi"},
        {"chinampa.dev/network-mbps": "٣"},
        {"chinampa.dev/launch-type": "x"},
    ],
)
def test_an_annotation_that_is_unknown_or_unreadable_is_refused_by_name(annotation: dict[str, str]) -> None:
    with pytest.raises(Fault, match=next(iter(annotation))) as refused:
        read(annotation)
    assert refused.value.kind is Kind.INVALID
