"""Types and prices in AWS's documented shapes become offers; what cannot be read is left out."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.ec2 import partitions
from controller.clouds.ec2.market import market
from controller.clouds.ec2.market.price_feed import CATALOGUE
from controller.model.offer import LaunchType

PRODUCT: dict[str, Any] = {
    "product": {
        "productFamily": "Compute Instance",
        "attributes": {
            "instanceType": "m7i.large",
            "vcpu": "2",
            "memory": "8 GiB",
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
            "regionCode": "us-east-1",
        },
        "sku": "2223B6PCG6QAUYY6",
    },
    "serviceCode": "AmazonEC2",
    "terms": {
        "OnDemand": {
            "2223B6PCG6QAUYY6.JRTCKXETXF": {
                "priceDimensions": {
                    "2223B6PCG6QAUYY6.JRTCKXETXF.6YS6EN2CT7": {
                        "unit": "Hrs",
                        "beginRange": "0",
                        "endRange": "Inf",
                        "pricePerUnit": {"USD": "0.1008000000"},
                    }
                },
                "termAttributes": {},
            }
        },
        "Reserved": {"2223B6PCG6QAUYY6.NQ3QZPMQV9": {"priceDimensions": {}}},
    },
}
M7I: dict[str, Any] = {
    "InstanceType": "m7i.large",
    "CurrentGeneration": True,
    "SupportedUsageClasses": ["on-demand", "spot"],
    "BareMetal": False,
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "VCpuInfo": {"DefaultVCpus": 2},
    "MemoryInfo": {"SizeInMiB": 8192},
    "InstanceStorageSupported": False,
    "NetworkInfo": {
        "MaximumNetworkInterfaces": 3,
        "Ipv4AddressesPerInterface": 10,
        "NetworkCards": [{"NetworkCardIndex": 0, "BaselineBandwidthInGbps": 0.781}],
    },
    "BurstablePerformanceSupported": False,
}
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_a_type_described_by_ec2_is_the_one_of_the_snapshot() -> None:
    known, _ = market.bundled(CATALOGUE.read_text(), "us-east-1")
    assert market.shape(M7I) == known.shapes["m7i.large"]


def test_a_type_that_cannot_run_the_agent_is_left_out() -> None:
    assert market.shape(M7I | {"ProcessorInfo": {"SupportedArchitectures": ["i386"]}}) is None
    assert market.shape(M7I | {"ProcessorInfo": {"SupportedArchitectures": ["x86_64_mac"]}}) is None
    assert market.shape({"InstanceType": "odd"}) is None


def test_a_document_of_the_price_list_gives_type_and_price() -> None:
    assert market.price(json.dumps(PRODUCT), "us-east-1") == ("m7i.large", 0.1008)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("operatingSystem", "Windows"),
        ("tenancy", "Dedicated"),
        ("preInstalledSw", "SQL Web"),
        ("capacitystatus", "UnusedCapacityReservation"),
        ("regionCode", "eu-west-1"),
    ],
)
def test_the_price_of_anything_else_is_not_taken(attribute: str, value: str) -> None:
    other = copy.deepcopy(PRODUCT)
    other["product"]["attributes"][attribute] = value
    assert market.price(json.dumps(other), "us-east-1") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["product", "attributes", "terms", "OnDemand", "instanceType", "priceDimensions"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_document_holds_it_is_a_price_or_nothing(document: object) -> None:
    found = market.price(json.dumps(document), "us-east-1")
    assert found is None or found[1] > 0
    assert market.shape(document if isinstance(document, dict) else {}) is None


def test_prices_in_another_partitions_currency_are_reckoned_in_usd() -> None:
    document = json.dumps(
        {
            "product": {"attributes": {"instanceType": "m7i.large", "regionCode": "cn-north-1"}},
            "terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"unit": "Hrs", "pricePerUnit": {"CNY": "0.70"}}}}}},
        }
    )
    assert market.price(document, "cn-north-1", "CNY") == ("m7i.large", 0.7)
    assert market.price(document, "cn-north-1") is None
    assert partitions.of("cn-north-1").prices == "cn-northwest-1"
    assert partitions.of("us-isob-east-1").name == "aws-iso-b"
    assert partitions.of("eusc-de-east-1").currency == "EUR"
    assert partitions.of("us-gov-west-1").prices == "", "it has no price list of its own"
    entries = [{"InstanceType": "m", "AvailabilityZone": "a", "SpotPrice": "2.0"}]
    assert market.spot_prices(entries, 0.5) == {("m", "a"): 1.0}


def test_of_the_spot_history_the_newest_price_of_each_zone_counts() -> None:
    def entry(zone: str, usd: str, age: int) -> dict[str, Any]:
        at = NOW - timedelta(hours=age)
        return {"InstanceType": "m7i.large", "AvailabilityZone": zone, "SpotPrice": usd, "Timestamp": at}

    found = market.spot_prices(
        [entry("a", "0.05", 2), entry("a", "0.04", 1), entry("a", "0.06", 3), entry("b", "x", 0)]
    )
    assert found == {("m7i.large", "a"): 0.04}


def test_a_type_is_sold_where_it_is_offered_and_as_spot_where_there_is_a_market() -> None:
    shape = market.shape(M7I)
    assert shape is not None
    known = market.Market(shapes={"m7i.large": shape}, on_demand={"m7i.large": 0.1})

    guessed = market.offers(known, ["b", "a"])
    assert [(each.zone, each.launch_type, each.usd_per_hour) for each in guessed] == [
        ("a", LaunchType.ON_DEMAND, 0.1),
        ("a", LaunchType.SPOT, 0.04),
        ("b", LaunchType.ON_DEMAND, 0.1),
        ("b", LaunchType.SPOT, 0.04),
    ]

    told = market.Market(
        shapes=known.shapes,
        on_demand=known.on_demand,
        sold=frozenset({("m7i.large", "a"), ("m7i.large", "b")}),
        spot={("m7i.large", "b"): 0.03},
    )
    found = market.offers(told, ["a", "b", "c"])
    assert [(each.zone, each.launch_type, each.usd_per_hour) for each in found] == [
        ("a", LaunchType.ON_DEMAND, 0.1),
        ("b", LaunchType.ON_DEMAND, 0.1),
        ("b", LaunchType.SPOT, 0.03),
    ]


def test_a_region_that_the_snapshot_lacks_has_the_prices_of_one_that_it_has() -> None:
    known, of = market.bundled(CATALOGUE.read_text(), "mars-north-1")
    assert of == "us-east-1"
    assert known.on_demand["m7i.large"] > 0
