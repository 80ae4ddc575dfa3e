"""All offers of a cloud, laid out once so that ranking one pod among thousands takes a millisecond. Pure.

Made anew when the cloud's offers change; a value otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from controller.choice.requirements import Requirements
from controller.model.offer import Gpus, LaunchType, Offer, Shape

# The part of an EC2 instance's nominal memory that neither firmware nor hypervisor leaves to the kernel (Karpenter's
# default for the same).
VM_MEMORY_OVERHEAD = 0.075
# Where the price on hardware of one's own is not known: it is seldom more than this above the usual one.
DEDICATED_GUESS = 1.1
# Sustained share of each vCPU that a burstable size may use without surcharge, in thousandths of a CPU in all
# (Amazon EC2 user guide, "CPU credits and baseline utilization").
BASELINES = {
    "t2.nano": 50, "t2.micro": 100, "t2.small": 200, "t2.medium": 400, "t2.large": 600, "t2.xlarge": 900,
    "t2.2xlarge": 1360, "nano": 100, "micro": 200, "small": 400, "medium": 400, "large": 600, "xlarge": 1600,
    "2xlarge": 3200,
}  # fmt: skip


class Catalogue:
    """Offers in order of price, with what ranking looks at beside each."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.offers = tuple(sorted(offers, key=lambda offer: (offer.usd_per_hour, offer.shape.type, offer.zone)))
        self.columns = tuple(
            (
                offer.usd_per_hour,
                offer.shape.cpu_millis,
                offer.shape.memory_mib,
                offer.shape.baseline_millis,
                offer,
            )
            for offer in self.offers
        )

    def of(self, requirements: Requirements) -> Catalogue:
        """The offers at the prices that hold for these requirements."""
        return self._dedicated if requirements.tenancy == "dedicated" else self

    @cached_property
    def _dedicated(self) -> Catalogue:
        return Catalogue(tuple(_dedicated(offer) for offer in self.offers if offer.dedicated_usd_per_hour != 0))


def _dedicated(offer: Offer) -> Offer:
    known = offer.dedicated_usd_per_hour
    price = round(offer.usd_per_hour * DEDICATED_GUESS, 6) if known is None else known
    return msgspec.structs.replace(offer, usd_per_hour=price)


def baseline_millis(type_name: str, vcpus: int) -> int:
    """Sustained CPU of a burstable type in thousandths; all of it for a size that is not in the table."""
    return BASELINES.get(type_name, BASELINES.get(type_name.rsplit(".", maxsplit=1)[-1], vcpus * 1000))


def shape_of(type_name: str, entry: Mapping[str, Any]) -> Shape:
    """A Shape from one entry of the bundled catalogue, whose keys are EC2's own figures."""
    vcpus = int(entry["vcpus"])
    gpus = entry["gpus"]
    architectures = entry["architectures"]
    return Shape(
        type=type_name,
        architecture="arm64" if "arm64" in architectures else "amd64",
        cpu_millis=vcpus * 1000,
        memory_mib=int(int(entry["memory_mib"]) * (1 - VM_MEMORY_OVERHEAD)),
        baseline_millis=baseline_millis(type_name, vcpus) if entry["burstable"] else vcpus * 1000,
        burstable=bool(entry["burstable"]),
        current_generation=bool(entry["current_generation"]),
        bare_metal=bool(entry["bare_metal"]),
        gpus=_gpus(gpus),
        storage_gb=int(entry["instance_storage_gb"] or 0),
        network_mbps=int(entry["bandwidth_mbps"] or 0),
        addresses=int(entry["ipv4_per_eni"] or 0) * int(entry["max_enis"] or 0),
        spot=bool(entry["spot"]),
    )


def _gpus(entries: Sequence[Mapping[str, Any]]) -> Gpus | None:
    if not entries:
        return None
    first = entries[0]
    memory = int(first.get("memory_mib") or 0)
    name, vendor = (str(first.get(key, "")).lower() for key in ("name", "manufacturer"))
    return Gpus(sum(int(each["count"]) for each in entries), name, memory, vendor)


@lru_cache(maxsize=1)
def read(text: str) -> Mapping[str, Any]:
    """The snapshot that comes with the code, decoded once, for it is half a megabyte."""
    return msgspec.json.decode(text, type=dict[str, Any])


def bundled_offers(text: str, region: str, zones: Sequence[str]) -> tuple[Offer, ...]:
    """On-demand offers of the bundled snapshot for a region's zones; types without a price are left out."""
    data = read(text)
    prices: Mapping[str, float] = data["on_demand_usd_per_hour"].get(region) or {}
    offers: list[Offer] = []
    for type_name, entry in data["types"].items():
        price = prices.get(type_name)
        # i386 alone cannot run a 64-bit agent; a one-address instance has none for the pod.
        if not price or not {"x86_64", "arm64"} & set(entry["architectures"]):
            continue
        shape = shape_of(type_name, entry)
        offers.extend(
            Offer(shape=shape, zone=zone, launch_type=LaunchType.ON_DEMAND, usd_per_hour=price) for zone in zones
        )
    return tuple(offers)
