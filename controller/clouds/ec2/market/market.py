"""Types and prices as AWS's APIs tell them, and what they make together. Pure.

Shapes: DescribeInstanceTypes, DescribeInstanceTypeOfferings and DescribeSpotPriceHistory (EC2 API reference), and the
documents of GetProducts ("Reading price list files", AWS Billing user guide). An entry that cannot be read is left out:
one odd type must not take the others off sale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec

from controller.choice.catalogue import read, shape_of
from controller.model.offer import LaunchType, Offer, Shape

# Where no price of the spot market is known: it is seldom dearer than this share of the on-demand price.
SPOT_GUESS = 0.4
_SNAPSHOT_REGION = "us-east-1"
_AGENT_RUNS_ON = frozenset({"x86_64", "arm64"})
SHARED, DEDICATED = "Shared", "Dedicated"
# What a price of the list must be of to be that of a plain Linux instance (others: reserved, dedicated, with licences).
PLAIN_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": SHARED,
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """The market of a region. `sold` are types and zones, None where every type is taken to be in every zone;
    prices are USD per hour; `spot` has those of the spot market by type and zone, `dedicated` those on demand on
    hardware of one's own, None where they are not known.
    """

    shapes: dict[str, Shape]
    on_demand: dict[str, float]
    sold: frozenset[tuple[str, str]] | None = None
    spot: dict[tuple[str, str], float] | None = None
    dedicated: dict[str, float] | None = None


def offers(market: Market, zones: Sequence[str]) -> tuple[Offer, ...]:
    """All that can be bought in these zones, always in the same order."""
    return tuple(_offers(market, sorted(zones)))


def _offers(market: Market, zones: Sequence[str]) -> Iterator[Offer]:
    for name, shape in sorted(market.shapes.items()):
        price = market.on_demand.get(name, 0.0)
        for zone in zones:
            if market.sold is not None and (name, zone) not in market.sold:
                continue
            own = market.dedicated.get(name, 0.0) if market.dedicated is not None else None
            if price:
                yield Offer(
                    shape=shape,
                    zone=zone,
                    launch_type=LaunchType.ON_DEMAND,
                    usd_per_hour=price,
                    dedicated_usd_per_hour=own,
                )
            spot = _spot_price(market, name, zone, price) if shape.spot else 0.0
            if spot:
                # EC2 tells no spot prices of dedicated instances: they are dearer by as much as on demand.
                dearer = round(spot * max(1.0, own / price), 6) if own is not None and price else own
                yield Offer(
                    shape=shape,
                    zone=zone,
                    launch_type=LaunchType.SPOT,
                    usd_per_hour=spot,
                    dedicated_usd_per_hour=dearer if own != 0 else 0.0,
                )


def _spot_price(market: Market, name: str, zone: str, on_demand: float) -> float:
    """Of the market; a guess where no market is known at all. A type that a known market lacks is not sold there."""
    if market.spot is None:
        return round(on_demand * SPOT_GUESS, 6)
    return market.spot.get((name, zone), 0.0)


def bundled(text: str, region: str) -> tuple[Market, str]:
    """The snapshot that comes with the code, and the region whose prices it has: another's, where it lacks this one's,
    since the order of types by price is much the same everywhere.
    """
    data = read(text)
    regions: Mapping[str, Mapping[str, float | None]] = data["on_demand_usd_per_hour"]
    of = region if regions.get(region) else _SNAPSHOT_REGION
    prices = regions[of]
    shapes = {
        name: shape_of(name, entry)
        for name, entry in data["types"].items()
        if _AGENT_RUNS_ON & set(entry["architectures"])
    }
    return Market(shapes=shapes, on_demand={name: price for name, price in prices.items() if price}), of


def snapshot_source(text: str) -> str:
    """Where the snapshot is from, in its own words."""
    return str(read(text).get("source") or "bundled snapshot")


def shape(described: Mapping[str, Any]) -> Shape | None:
    """One entry of DescribeInstanceTypes; None for one that cannot run a cell or cannot be read."""
    try:
        entry = _entry(described)
        return shape_of(str(described["InstanceType"]), entry) if _AGENT_RUNS_ON & set(entry["architectures"]) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _entry(described: Mapping[str, Any]) -> dict[str, Any]:
    """In the keys of the bundled catalogue."""
    network: Mapping[str, Any] = described.get("NetworkInfo") or {}
    gpus: Sequence[Mapping[str, Any]] = (described.get("GpuInfo") or {}).get("Gpus") or ()
    cards: Sequence[Mapping[str, Any]] = network.get("NetworkCards") or ()
    return {
        "architectures": list(described["ProcessorInfo"]["SupportedArchitectures"]),
        "vcpus": described["VCpuInfo"]["DefaultVCpus"],
        "memory_mib": described["MemoryInfo"]["SizeInMiB"],
        "burstable": bool(described.get("BurstablePerformanceSupported")),
        "current_generation": bool(described.get("CurrentGeneration")),
        "bare_metal": bool(described.get("BareMetal")),
        "instance_storage_gb": (described.get("InstanceStorageInfo") or {}).get("TotalSizeInGB") or 0,
        "bandwidth_mbps": round(sum(float(card.get("BaselineBandwidthInGbps") or 0) for card in cards) * 1000),
        "ipv4_per_eni": network.get("Ipv4AddressesPerInterface") or 0,
        "max_enis": network.get("MaximumNetworkInterfaces") or 0,
        "spot": "spot" in (described.get("SupportedUsageClasses") or ()),
        "gpus": [
            {
                "count": gpu.get("Count") or 0,
                "name": gpu.get("Name") or "",
                "manufacturer": gpu.get("Manufacturer") or "",
                "memory_mib": (gpu.get("MemoryInfo") or {}).get("SizeInMiB") or 0,
            }
            for gpu in gpus
        ],
    }


def price(document: object, region: str, currency: str = "USD", tenancy: str = SHARED) -> tuple[str, float] | None:
    """Type and hourly price, in this currency, of a document of the price list; None for a price of anything else."""
    try:
        told = cast("Any", json.loads(document) if isinstance(document, str) else document)
        attributes: Mapping[str, str] = told["product"]["attributes"]
        wanted = {**PLAIN_LINUX, "tenancy": tenancy, "regionCode": region}
        # Older documents lack some of these; those that they have must agree.
        if any(attributes.get(key, value) != value for key, value in wanted.items()):
            return None
        found = [usd for usd in _rates(told["terms"].get("OnDemand") or {}, currency) if 0 < usd < float("inf")]
        return (str(attributes["instanceType"]), found[0]) if len(found) == 1 else None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _rates(terms: Mapping[str, Any], currency: str) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            if str(dimension.get("unit")) == "Hrs":
                yield float(dimension["pricePerUnit"].get(currency) or 0)


def spot_prices(entries: Iterable[Mapping[str, Any]], worth: float = 1.0) -> dict[tuple[str, str], float]:
    """USD by type and zone, the newest of each, of DescribeSpotPriceHistory, in whose currency one is `worth` USD."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for entry in entries:
        try:
            usd = float(entry["SpotPrice"]) * worth
            told = entry.get("Timestamp")
            at = told.timestamp() if isinstance(told, datetime) else 0.0
            key = (str(entry["InstanceType"]), str(entry["AvailabilityZone"]))
        except (KeyError, TypeError, ValueError):
            continue
        if 0 < usd < float("inf") and at >= found.get(key, (0.0, 0.0))[0]:
            found[key] = (at, usd)
    return {key: usd for key, (_, usd) in found.items()}


def sold(entries: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """Types and zones of DescribeInstanceTypeOfferings by availability zone."""
    return frozenset(
        (str(entry.get("InstanceType") or ""), str(entry.get("Location") or "")) for entry in cast("Any", entries)
    )
