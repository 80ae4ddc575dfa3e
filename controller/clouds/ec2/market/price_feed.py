"""Prices and types on sale, kept up to date from AWS, as far as the credentials allow.

Five parts, each refreshed by itself: types, zones, on-demand and dedicated prices (every 12 h), spot prices (every
hour). A part that cannot be refreshed stays as it was, with its source and age; at first that is the bundled snapshot.
An empty answer counts as a failure, so the catalogue never becomes empty by a refresh.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import DEDICATED_GUESS
from controller.clouds.ec2 import partitions
from controller.clouds.ec2.calls import Door
from controller.clouds.ec2.market import market
from controller.clouds.ec2.market.market import Market
from controller.clouds.protocol import PriceSource
from controller.model.offer import Offer, Shape

log = structlog.get_logger()
CATALOGUE = Path(__file__).parent / "catalogue.json"
REFRESH_SECONDS = 12 * 3600.0
SPOT_SECONDS = 3600.0
# A part that failed is tried again before it is due.
AGAIN_SECONDS = 300.0
# Controllers that start together must not ask together for ever.
_SCATTER = 0.1
_PAGE = 1000
_TYPES_PAGE = 100
TYPES, ZONES, ON_DEMAND, SPOT, DEDICATED = "types", "zones", "on-demand", "spot", "dedicated"
_EVERY = {**dict.fromkeys((TYPES, ZONES, ON_DEMAND, DEDICATED), REFRESH_SECONDS), SPOT: SPOT_SECONDS}


class Shelf(Protocol):
    """Where offers are put on sale."""

    def replace(self, offers: tuple[Offer, ...], source: str) -> bool:
        """Sell these from now on; whether that changed anything."""
        ...


class PriceFeed:
    """See the module. `clock` gives unix seconds; what is due goes by `steady`, a clock that nobody sets."""

    def __init__(
        self,
        region: str,
        zones: Iterable[str],
        calls: Door,
        shelf: Shelf,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._region = region
        self._partition = partitions.of(region)
        self._zones = tuple(sorted(set(zones)))
        self._calls = calls
        self._shelf = shelf
        self._clock = clock
        self._steady = steady
        text = CATALOGUE.read_text()
        self._market, of = market.bundled(text, region)
        snapshot = f"bundled snapshot ({market.snapshot_source(text)})"
        prices = snapshot if of == region else f"{snapshot}, of {of} for want of this region's"
        self._sources = {
            TYPES: PriceSource(part=TYPES, source=snapshot),
            ZONES: PriceSource(part=ZONES, source="assumed: every type in every zone"),
            ON_DEMAND: PriceSource(part=ON_DEMAND, source=prices),
            SPOT: PriceSource(part=SPOT, source=f"guessed: {market.SPOT_GUESS:g} of the on-demand price"),
            DEDICATED: PriceSource(part=DEDICATED, source=f"guessed: {DEDICATED_GUESS:g} times the usual price"),
        }
        self._due = dict.fromkeys(_EVERY, 0.0)

    @property
    def sources(self) -> tuple[PriceSource, ...]:
        """Where each part is from, and when it was asked for."""
        return tuple(self._sources.values())

    @property
    def _reckoned(self) -> str:
        """How prices in another currency became USD."""
        its = self._partition
        return "" if its.usd == 1.0 else f", in {its.currency}, of which one is reckoned as {its.usd:g} USD"

    async def work(self, first_after: float) -> None:
        """Refresh what is due, for ever, beginning about `first_after` seconds from now."""
        await asyncio.sleep(_scattered(first_after))
        while True:
            await self.refresh()
            await asyncio.sleep(max(1.0, min(self._due.values()) - self._steady()))

    async def refresh(self) -> None:
        """Refresh what is due now and put the outcome on sale. Faults are told and remembered."""
        now = self._steady()
        parts: dict[str, tuple[Callable[[], Awaitable[Market]], str]] = {
            TYPES: (self._types, "DescribeInstanceTypes"),
            ZONES: (self._sold, "DescribeInstanceTypeOfferings"),
            ON_DEMAND: (self._on_demand, f"price list (GetProducts){self._reckoned}"),
            SPOT: (self._spot, f"DescribeSpotPriceHistory{self._reckoned}"),
            DEDICATED: (self._dedicated, f"price list (GetProducts){self._reckoned}"),
        }
        fresh = False
        for part, (ask, source) in parts.items():
            if self._due[part] > now:
                continue
            try:
                self._market = await ask()
            except Fault as fault:
                log.warning("prices are not refreshed; what is known stays", part=part, cause=str(fault))
                self._sources[part] = msgspec.structs.replace(self._sources[part], fault=str(fault))
                self._due[part] = now + _scattered(AGAIN_SECONDS if fault.kind is not Kind.DENIED else _EVERY[part])
                continue
            fresh = True
            self._sources[part] = PriceSource(part=part, source=source, at=self._clock())
            self._due[part] = now + _scattered(_EVERY[part])
        if fresh:
            self._put_on_sale()

    def _put_on_sale(self) -> None:
        found = market.offers(self._market, self._zones)
        if not found:
            log.warning("no price of this region is known: what was sold stays", region=self._region)
            return
        if self._shelf.replace(found, "; ".join(f"{each.part}: {each.source}" for each in self.sources)):
            log.info("prices changed", offers=len(found))

    async def _types(self) -> Market:
        shapes: dict[str, Shape] = {}
        async for described in self._calls.pages(
            "ec2", "DescribeInstanceTypes", "InstanceTypes", MaxResults=_TYPES_PAGE
        ):
            if shape := market.shape(described):
                shapes[shape.type] = shape
        return msgspec.structs.replace(self._market, shapes=_some(shapes, "ec2 DescribeInstanceTypes"))

    async def _sold(self) -> Market:
        entries = [
            entry
            async for entry in self._calls.pages(
                "ec2",
                "DescribeInstanceTypeOfferings",
                "InstanceTypeOfferings",
                LocationType="availability-zone",
                Filters=[{"Name": "location", "Values": list(self._zones)}],
                MaxResults=_PAGE,
            )
        ]
        sold = market.sold(_some(entries, "ec2 DescribeInstanceTypeOfferings"))
        return msgspec.structs.replace(self._market, sold=sold)

    async def _on_demand(self) -> Market:
        return msgspec.structs.replace(self._market, on_demand=await self._listed(market.SHARED))

    async def _dedicated(self) -> Market:
        return msgspec.structs.replace(self._market, dedicated=await self._listed(market.DEDICATED))

    async def _listed(self, tenancy: str) -> dict[str, float]:
        its = self._partition
        if not its.prices:
            cause = f"the partition {its.name} has none"
            raise Fault(Kind.DENIED, "price list", cause, "the bundled snapshot's prices rank the types")
        wanted = {**market.PLAIN_LINUX, "tenancy": tenancy, "regionCode": self._region}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        prices: dict[str, float] = {}
        async for document in self._calls.pages(
            "pricing", "GetProducts", "PriceList", ServiceCode="AmazonEC2", Filters=filters, MaxResults=100
        ):
            if found := market.price(document, self._region, its.currency, tenancy):
                prices[found[0]] = found[1] * its.usd
        return _some(prices, "pricing GetProducts")

    async def _spot(self) -> Market:
        entries: list[dict[str, Any]] = [
            entry
            async for entry in self._calls.pages(
                "ec2",
                "DescribeSpotPriceHistory",
                "SpotPriceHistory",
                ProductDescriptions=["Linux/UNIX"],
                # From now on: the price that holds, of each type and zone.
                StartTime=datetime.fromtimestamp(self._clock(), UTC),
                Filters=[{"Name": "availability-zone", "Values": list(self._zones)}],
                MaxResults=_PAGE,
            )
        ]
        spot = _some(market.spot_prices(entries, self._partition.usd), "ec2 DescribeSpotPriceHistory")
        return msgspec.structs.replace(self._market, spot=spot)


def _some(found: Any, thing: str) -> Any:
    if not found:
        raise Fault(Kind.BROKEN, thing, "the answer is empty", "what is known stays")
    return found


def _scattered(seconds: float) -> float:
    return seconds * random.uniform(1 - _SCATTER, 1 + _SCATTER)  # noqa: S311 # scatter, no secret
