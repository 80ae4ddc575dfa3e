"""The snapshot of EC2's catalogue that comes with the code: what can be bought, where no controller can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import read
from controller.clouds.ec2.market import market
from controller.clouds.protocol import PriceSource
from controller.model.offer import Offer

CATALOGUE = Path(__file__).resolve().parent.parent / "clouds" / "ec2" / "market" / "catalogue.json"


def offers(region: str, zones: Sequence[str]) -> tuple[tuple[Offer, ...], tuple[PriceSource, ...]]:
    """All offers of a region's zones, and where their prices are from. Raises Fault INVALID for an unknown region."""
    text = CATALOGUE.read_text()
    known, of = market.bundled(text, region)
    if of != region:
        listed = ", ".join(sorted(read(text)["on_demand_usd_per_hour"]))
        raise Fault(Kind.INVALID, f"region {region}", "the snapshot has no prices of it", f"it has those of {listed}")
    sources = (
        PriceSource(part="on-demand", source=f"bundled snapshot ({market.snapshot_source(text)})"),
        PriceSource(part="spot", source=f"guessed: {market.SPOT_GUESS:g} of the on-demand price"),
    )
    return market.offers(known, zones), sources
