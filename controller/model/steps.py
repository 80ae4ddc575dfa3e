"""The one function that moves a cell from state to state. Pure.

`requested → launching → booting → ready → claimed → retiring → gone`, and `lost` from any live state. A step that the
table does not know raises: no cell is ever in a state that nobody thought of.
"""

from __future__ import annotations

import msgspec

from controller.model.cell import Cell, CellState
from controller.model.names import InstanceId
from controller.model.offer import Offer
from controller.model.pod import PodClaim

LIVE = frozenset({CellState.REQUESTED, CellState.LAUNCHING, CellState.BOOTING, CellState.READY, CellState.CLAIMED})
ENDED = frozenset({CellState.RETIRING, CellState.LOST, CellState.GONE})


class Launching(msgspec.Struct, frozen=True, kw_only=True):
    """A launch is about to be asked for, under this client token."""

    client_token: str
    join_token_hash: str


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud has given an instance."""

    instance: InstanceId
    offer: Offer | None
    address: str
    pod_address: str


class Joined(msgspec.Struct, frozen=True):
    """The instance has proved who it is."""


class Claimed(msgspec.Struct, frozen=True):
    """A pod has it."""

    claim: PodClaim


class Retired(msgspec.Struct, frozen=True):
    """The pod is over, or nobody wants the cell any more."""

    reason: str


class Lost(msgspec.Struct, frozen=True):
    """The cell is not what it should be and never will be again."""

    reason: str


class Ended(msgspec.Struct, frozen=True):
    """Nothing of it is left in the cloud."""


Event = Launching | Launched | Joined | Claimed | Retired | Lost | Ended


class ImpossibleStep(Exception):
    """An event that cannot happen to a cell in its state."""


def step(cell: Cell, event: Event, now: float) -> Cell:
    """The cell after an event. Raises ImpossibleStep."""
    match cell.state, event:
        case ((CellState.REQUESTED | CellState.LAUNCHING), Launching()):
            return _to(
                cell,
                CellState.LAUNCHING,
                now,
                client_token=event.client_token,
                join_token_hash=event.join_token_hash,
                boots=cell.boots + 1,
            )
        case CellState.LAUNCHING, Launched():
            return _to(
                cell,
                CellState.BOOTING,
                now,
                instance=event.instance,
                offer=event.offer or cell.offer,
                address=event.address,
                pod_address=event.pod_address,
            )
        case CellState.BOOTING, Joined():
            return _to(cell, CellState.READY, now, last_heartbeat=now)
        case CellState.READY, Claimed():
            return _to(cell, CellState.CLAIMED, now, claim=event.claim)
        case (state, Retired()) if state in LIVE:
            return _to(cell, CellState.RETIRING, now, reason=event.reason)
        case (state, Lost()) if state in LIVE:
            return _to(cell, CellState.LOST, now, reason=event.reason)
        case ((CellState.RETIRING | CellState.LOST), Ended()):
            return _to(cell, CellState.GONE, now)
        case _:
            raise ImpossibleStep(f"cell {cell.name} is {cell.state.value}: {type(event).__name__} cannot happen to it")


def _to(cell: Cell, state: CellState, now: float, **changes: object) -> Cell:
    moments = {**cell.moments, state.value: now}
    return msgspec.structs.replace(cell, state=state, changed_at=now, moments=moments, **changes)
