"""Offers of EC2: the bundled catalogue in our zones, until fresher facts replace it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import structlog

from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.market import market
from controller.model.offer import LaunchType, Offer

log = structlog.get_logger()
CATALOGUE = Path(__file__).parent / "catalogue.json"


class Offers:
    """All that can be bought; the same tuple for as long as nothing changes."""

    def __init__(self, settings: Ec2Settings, zones: Iterable[str]) -> None:
        self._settings = settings
        self._zones = frozenset(zones)
        self._current: tuple[Offer, ...] = ()
        self.source = ""
        """Where the current offers come from, in words."""
        known, of = market.bundled(CATALOGUE.read_text(), settings.region)
        if of != settings.region:
            log.warning("no bundled prices of this region: those of another rank until they are asked for", region=of)
        self.replace(market.offers(known, sorted(self._zones)), "bundled snapshot")

    @property
    def current(self) -> tuple[Offer, ...]:
        """The offers of now."""
        return self._current

    def replace(self, offers: Sequence[Offer], source: str) -> bool:
        """Sell these from now on, but for what the settings rule out; whether that changed anything."""
        self.source = source
        sold = tuple(self._sold(offers))
        if sold == self._current:
            return False
        self._current = sold
        return True

    def _sold(self, offers: Iterable[Offer]) -> Iterator[Offer]:
        spot, most, architectures = self._settings.spot, self._settings.max_price, self._settings.images.keys()
        for offer in offers:
            if (
                offer.zone in self._zones
                and offer.shape.architecture in architectures
                # One address is the instance's, one the pod's.
                and offer.shape.addresses >= 2
                and (spot or offer.launch_type is LaunchType.ON_DEMAND)
                and (not most or offer.usd_per_hour <= most)
            ):
                yield offer
