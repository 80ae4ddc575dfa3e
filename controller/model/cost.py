"""Costs of a cell, now and so far, as far as its price tells. Pure.

EC2 bills by the second from the launch on, and at least a minute ("Amazon EC2 On-Demand Pricing", per-second billing).
Volumes, addresses and traffic are not in the price of an instance, and so not in these numbers.
"""

from __future__ import annotations

from controller.model.cell import Cell

LEAST_SECONDS = 60.0
HOUR = 3600.0


def launched_at(cell: Cell) -> float:
    """The unix second from which its instance is paid for; 0 while it has none."""
    if cell.instance is None:
        return 0.0
    # The answer to a launch comes a moment after the instance is made. A crash between the two may have lost it.
    return cell.moments.get("booting") or cell.moments.get("launching") or cell.created_at


def usd_per_hour(cell: Cell) -> float:
    """What its instance costs now; 0 where there is none, or where nobody knows its price."""
    return cell.offer.usd_per_hour if cell.instance is not None and cell.offer is not None else 0.0


def usd_so_far(cell: Cell, now: float) -> float:
    """What its instance has cost since its launch, at the price of its launch, the least that is billed included."""
    begun = launched_at(cell)
    return usd_per_hour(cell) * max(now - begun, LEAST_SECONDS) / HOUR if begun else 0.0


def bought(cell: Cell) -> str:
    """What was bought, in words: "c7g.medium spot in eu-central-1a for 0.0145 USD/h"; "" where that is not known."""
    if cell.offer is None:
        return ""
    offer = cell.offer
    return f"{offer.shape.type} {offer.launch_type.value} in {offer.zone} for {dollars(offer.usd_per_hour)} USD/h"


def dollars(usd: float) -> str:
    """An amount for a person: four decimals, more where the first four would hide it."""
    return f"{usd:.4f}" if usd >= 0.001 or not usd else f"{usd:.6f}"
