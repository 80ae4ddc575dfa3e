"""Offers by type with their prices and where those are from, as the command line shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from controller.clouds.protocol import PriceSource
from controller.model.offer import LaunchType, Offer, Shape


def sheet(offers: Iterable[Offer], sources: Sequence[PriceSource], now: float) -> dict[str, Any]:
    """Types, cheapest first, and sources with their age in seconds (None for what came with the code)."""
    types: dict[str, dict[str, Any]] = {}
    for offer in offers:
        row = types.setdefault(offer.shape.type, _row(offer.shape))
        if offer.launch_type is LaunchType.ON_DEMAND:
            row["on_demand"] = offer.usd_per_hour
        else:
            row["spot"][offer.zone] = offer.usd_per_hour
        row["least"] = min(row["least"] or offer.usd_per_hour, offer.usd_per_hour)
    return {
        "types": sorted(types.values(), key=lambda row: (row["least"], row["type"])),
        "sources": [
            {
                "part": each.part,
                "source": each.source,
                "age_seconds": round(max(0.0, now - each.at)) if each.at else None,
                "fault": each.fault,
            }
            for each in sources
        ],
    }


def _row(shape: Shape) -> dict[str, Any]:
    gpus = shape.gpus
    return {
        "type": shape.type,
        "architecture": shape.architecture,
        "cpu_millis": shape.cpu_millis,
        "memory_mib": shape.memory_mib,
        "gpus": f"{gpus.count} {gpus.name}".strip() if gpus else "",
        "on_demand": 0.0,
        "spot": {},
        "least": 0.0,
    }
