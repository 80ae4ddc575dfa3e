"""Which of the required offers the local cloud fulfils, and with which of EC2's codes it refuses the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Unfulfilled
from controller.model.offer import Offer

NO_ROOM = "InsufficientInstanceCapacity"
_UNKNOWN = "Unsupported"
_KINDS = {
    "UnauthorizedOperation": Kind.DENIED,
    "InvalidParameterValue": Kind.INVALID,
    "RequestLimitExceeded": Kind.UNAVAILABLE,
    "InternalError": Kind.UNAVAILABLE,
}


class Refusal(msgspec.Struct, frozen=True):
    """Refusal of an offer: its code, as EC2 has them, and the fault."""

    unfulfilled: Unfulfilled
    fault: Fault


def no_offers() -> Fault:
    """Fault of a request without offers."""
    return Fault(Kind.INVALID, "launch", "the request has no offers", "rank some first")


def first_fit(
    required: Sequence[Offer], sold: Sequence[Offer], refusals: Mapping[str, str], free_mib: int
) -> tuple[Offer | None, tuple[Refusal, ...]]:
    """The first required offer that can be had, and what was refused before it.

    A refusal that no other offer would change (a missing right, say) ends the search.
    """
    ours = {(offer.shape.type, offer.zone, offer.launch_type): offer for offer in sold}
    refused: list[Refusal] = []
    for offer in required:
        own = ours.get((offer.shape.type, offer.zone, offer.launch_type))
        code = _code(offer, own, refusals, free_mib)
        if own is not None and not code:
            return own, tuple(refused)
        refused.append(_refusal(offer, code, free_mib))
        if refused[-1].fault.kind is not Kind.NO_CAPACITY:
            break
    return None, tuple(refused)


def _code(offer: Offer, own: Offer | None, refusals: Mapping[str, str], free_mib: int) -> str:
    name = offer.shape.type
    simulated = refusals.get(f"{name}/{offer.launch_type.value}") or refusals.get(name)
    if simulated:
        return simulated
    if own is None:
        return _UNKNOWN
    return NO_ROOM if own.shape.memory_mib > free_mib else ""


def _refusal(offer: Offer, code: str, free_mib: int) -> Refusal:
    told = Unfulfilled(type=offer.shape.type, zone=offer.zone, launch_type=offer.launch_type, code=code)
    kind = _KINDS.get(code, Kind.NO_CAPACITY)
    where = f"{offer.shape.type} in {offer.zone} ({offer.launch_type.value})"
    why = f": {free_mib} MiB of this machine are free" if code == NO_ROOM else ""
    return Refusal(told, Fault(kind, where, f"{code}{why}"))
