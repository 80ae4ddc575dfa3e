"""The choice beside one written anew from the words of docs/annotations.md; and on the bundled catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import Catalogue, bundled_offers
from controller.choice.rank import effective_price, explain, rank
from controller.choice.requirements import Requirements, read
from controller.choice.unavailable import ANY, Unavailable, marked
from controller.model.offer import Demand, Gpus, LaunchType, Offer, Shape

CATALOGUE = Path(__file__).parents[3] / "controller" / "clouds" / "ec2" / "market" / "catalogue.json"
FAMILIES, SIZES = ("m7i", "m7g", "t3", "g5"), ("large", "xlarge", "metal")


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    cpu = draw(st.sampled_from([1000, 2000, 4000]))
    burstable = draw(st.booleans())
    shape = Shape(
        type=f"{draw(st.sampled_from(FAMILIES))}.{draw(st.sampled_from(SIZES))}",
        architecture=draw(st.sampled_from(["amd64", "arm64"])),
        cpu_millis=cpu,
        memory_mib=draw(st.sampled_from([512, 2048, 8192])),
        baseline_millis=cpu // 5 if burstable else cpu,
        burstable=burstable,
        current_generation=draw(st.booleans()),
        bare_metal=draw(st.booleans()),
        gpus=draw(st.sampled_from([None, Gpus(1, "t4", 0, "nvidia"), Gpus(2, "v520", 0, "amd"), Gpus(0, "l4")])),
        network_mbps=draw(st.sampled_from([0, 1000, 10_000])),
        addresses=draw(st.sampled_from([1, 2, 30])),
    )
    launch_type, price = draw(st.sampled_from(LaunchType)), draw(st.integers(1, 500)) / 1000
    return Offer(shape=shape, zone=draw(st.sampled_from(["a", "b"])), launch_type=launch_type, usd_per_hour=price)


DEMANDS = st.builds(
    Demand,
    cpu_millis=st.integers(0, 4500),
    memory_mib=st.integers(0, 9000),
    gpus=st.sampled_from([0, 0, 0, 1, 2]),
    gpu_vendor=st.sampled_from(["", "nvidia", "amd"]),
    architectures=st.sampled_from([(), ("arm64",), ("amd64", "arm64")]),
    network_mbps=st.sampled_from([0, 0, 5000]),
)
ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "instance-type": st.sampled_from(["m7i.*", "m7i.large,t3.*", "*.xlarge"]),
        "instance-type-deny": st.sampled_from(["t3.*", "*.metal,m7g.large"]),
        "instance-family": st.sampled_from(["m7i", "t3,g5"]),
        "zone": st.sampled_from(["a", "b", "a,b", "c"]),
        "architecture": st.sampled_from(["arm64", "amd64,arm64"]),
        "launch-type": st.sampled_from(["spot", "on-demand", "spot,on-demand"]),
        "max-price": st.sampled_from(["0.05", "0.2"]),
        "generation": st.sampled_from(["current", "any"]),
        "bare-metal": st.sampled_from(["true", "false"]),
        "burstable": st.sampled_from(["true", "false"]),
        "gpu-name": st.sampled_from(["T4", "v520"]),
        "network-mbps": st.sampled_from(["1", "2000"]),
    },
)


def costs(demand: Demand, offer: Offer) -> float:
    """List price, and 5 cents (arm64: 4) for each sustained vCPU above the baseline of a burstable type."""
    shape = offer.shape
    above = max(demand.cpu_millis - shape.baseline_millis, 0) / 1000 if shape.burstable else 0
    return offer.usd_per_hour + above * (0.04 if shape.architecture == "arm64" else 0.05)


def listed(type_name: str, patterns: str) -> bool:
    """Whether "family.size" is in a list of such, either part of which may be a star."""
    family, size = type_name.split(".")
    return any(
        wanted[0] in {family, "*"} and wanted[1] in {size, "*"}
        for wanted in (pattern.split(".") for pattern in patterns.split(","))
    )


def does(demand: Demand, asked: dict[str, str], offer: Offer) -> bool:
    shape, name = offer.shape, offer.shape.type
    needs_gpus = demand.gpus > 0
    gpus = shape.gpus
    chips = asked["architecture"].split(",") if "architecture" in asked else demand.architectures or ["amd64"]
    return all(
        [
            shape.cpu_millis >= demand.cpu_millis,
            shape.memory_mib >= demand.memory_mib,
            shape.architecture in chips,
            shape.addresses >= 2,
            shape.network_mbps >= max(demand.network_mbps, int(asked.get("network-mbps", 0))),
            (gpus is not None) == needs_gpus,
            not needs_gpus or (gpus is not None and gpus.count >= demand.gpus),
            not needs_gpus or gpus is None or "gpu-name" not in asked or gpus.name == asked["gpu-name"].lower(),
            not needs_gpus or gpus is None or demand.gpu_vendor in {"", gpus.vendor} or not gpus.vendor,
            "instance-type" not in asked or listed(name, asked["instance-type"]),
            "instance-type-deny" not in asked or not listed(name, asked["instance-type-deny"]),
            "instance-family" not in asked or name.split(".")[0] in asked["instance-family"].split(","),
            "zone" not in asked or offer.zone in asked["zone"].split(","),
            offer.launch_type.value in asked.get("launch-type", "on-demand").split(","),
            shape.current_generation or asked.get("generation") == "any" or "instance-type" in asked,
            not shape.bare_metal or asked.get("bare-metal") == "true",
            not shape.burstable or asked.get("burstable") != "false",
            costs(demand, offer) <= float(asked.get("max-price", "inf")),
        ]
    )


def required(asked: dict[str, str]) -> Requirements:
    return read({f"chinampa.dev/{key}": value for key, value in asked.items()})


@settings(max_examples=400)
@given(found=st.lists(offers(), max_size=25), demand=DEMANDS, asked=ANNOTATIONS)
def test_the_choice_is_the_cheapest_of_all_that_the_words_allow(
    found: list[Offer], demand: Demand, asked: dict[str, str]
) -> None:
    allowed = sorted(costs(demand, offer) for offer in found if does(demand, asked, offer))
    ranked = rank(demand, required(asked), Catalogue(found), Unavailable(), 0.0).ranked

    assert [each.usd_per_hour for each in ranked] == pytest.approx(allowed)
    assert all(does(demand, asked, each.offer) for each in ranked)


@given(found=st.lists(offers(), max_size=25), demand=DEMANDS, asked=ANNOTATIONS)
def test_every_offer_is_either_ranked_or_turned_away_with_a_reason(
    found: list[Offer], demand: Demand, asked: dict[str, str]
) -> None:
    told = explain(demand, required(asked), Catalogue(found), Unavailable(), 0.0)

    assert len(told.ranking.ranked) + sum(told.rejected.values()) == told.considered == len(found)
    assert told.rejected.keys() == told.examples.keys()


@given(found=st.lists(offers(), max_size=15), demand=DEMANDS, refused=st.lists(st.integers(0, 14), max_size=4))
def test_what_was_refused_of_late_is_never_ranked_and_all_else_is(
    found: list[Offer], demand: Demand, refused: list[int]
) -> None:
    memory = Unavailable()
    keys = {(o.shape.type, o.zone, o.launch_type) for number, o in enumerate(found) if number in refused}
    for key in keys:
        memory = marked(memory, key, 0.0)
    catalogue = Catalogue(found)
    every = rank(demand, Requirements(), catalogue, Unavailable(), 1.0).offers
    left = rank(demand, Requirements(), catalogue, memory, 1.0).offers

    assert left == tuple(o for o in every if (o.shape.type, o.zone, o.launch_type) not in keys)
    assert (
        rank(demand, Requirements(), catalogue, marked(memory, (ANY, ANY, LaunchType.ON_DEMAND), 0.0), 1.0).offers == ()
    )


@settings(deadline=None, max_examples=60)
@given(
    cpu=st.integers(0, 100_000),
    memory=st.integers(0, 800_000),
    gpus=st.sampled_from([0, 0, 0, 1, 4, 8]),
    asked=st.sampled_from([{}, {"architecture": "amd64,arm64"}, {"burstable": "false"}, {"generation": "any"}]),
)
def test_on_the_bundled_catalogue_nothing_that_fits_is_cheaper(
    cpu: int, memory: int, gpus: int, asked: dict[str, str]
) -> None:
    demand = Demand(cpu_millis=cpu, memory_mib=memory, gpus=gpus, gpu_vendor="nvidia" if gpus else "")
    allowed = [costs(demand, offer) for offer in BUNDLED.offers if does(demand, asked, offer)]
    ranked = rank(demand, required(asked), BUNDLED, Unavailable(), 0.0).ranked

    assert bool(ranked) == bool(allowed)
    if ranked:
        best = ranked[0].offer
        assert ranked[0].usd_per_hour == pytest.approx(min(allowed)) == pytest.approx(effective_price(demand, best))
        assert best.shape.cpu_millis >= cpu
        assert best.shape.memory_mib >= memory


BUNDLED = Catalogue(bundled_offers(CATALOGUE.read_text(), "us-east-1", ["us-east-1a"]))


def test_the_bundled_catalogue_knows_who_makes_its_gpus() -> None:
    makers = {offer.shape.gpus.vendor for offer in BUNDLED.offers if offer.shape.gpus}

    assert makers
    assert "" not in makers
    assert (
        rank(
            Demand(cpu_millis=1, memory_mib=1, gpus=1, gpu_vendor="amd"), Requirements(), BUNDLED, Unavailable(), 0
        ).ranked
        == ()
    )


def test_burstable_types_of_the_bundled_catalogue_have_a_baseline_below_their_cpu() -> None:
    shapes = [offer.shape for offer in BUNDLED.offers if offer.shape.burstable]

    assert shapes
    assert all(0 < shape.baseline_millis < shape.cpu_millis for shape in shapes)


@given(st.dictionaries(st.text(max_size=12).map(lambda key: f"chinampa.dev/{key}"), st.text(max_size=12), max_size=3))
def test_annotations_that_cannot_be_read_are_faults_and_never_crashes(annotations: dict[str, str]) -> None:
    with pytest.raises(Fault) as raised:
        read({**annotations, "chinampa.dev/nonsense": "1"})
    assert raised.value.kind is Kind.INVALID


@given(
    name=st.sampled_from(["max-price", "volume-size", "network-mbps", "zone", "launch-type"]), value=st.text(max_size=9)
)
def test_any_text_for_an_annotation_is_read_or_refused_by_its_name(name: str, value: str) -> None:
    try:
        read({f"chinampa.dev/{name}": value})
    except Fault as fault:
        assert f"chinampa.dev/{name}" in str(fault)


def test_an_annotation_that_yaml_made_a_number_is_refused_with_how_to_write_it() -> None:
    wrong: dict[str, Any] = {"chinampa.dev/volume-size": 50}
    with pytest.raises(Fault, match="put it in quotes"):
        read(wrong)
