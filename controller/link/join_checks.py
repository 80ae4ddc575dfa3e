"""Whether an instance that asks to join is the one that a cell was launched for. Pure.

A token without an instance of ours is worth nothing, and an instance joins once. With the key with which it did so it
may ask again while its token lives: its answer may have been lost on the way, and a certificate is worth nothing
without the key.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

import msgspec

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from controller.model.transitions import LIVE

# A cell that dials within this time of its launch may join; later its token is dead.
TOKEN_LIFE = 900.0
# By how much this machine's clock may be ahead of the cloud's.
CLOCKS_APART = 300.0
JOINING = frozenset({CellState.LAUNCHING, CellState.BOOTING})


class Admitted(msgspec.Struct, frozen=True):
    """A cell that joined, and the settings it is to know."""

    cell: CellName
    settings: wire.CellSettings


class CellPace(msgspec.Struct, frozen=True):
    """What cells are told of the controller's burden, in seconds: how long there is to be between two heartbeats, and
    over how long they are to spread their redials. 0 is as their settings say, and as before.
    """

    heartbeat: float = 0.0
    redial_window: float = 0.0


class Admission(Protocol):
    """What the link asks of the fleet when an instance wants to join."""

    async def admit(self, token: str, key: str, identity: Identity) -> Admitted:
        """The cell of this instance, now joined; `key` is a digest of the one that it has proved to hold.

        Raises Fault DENIED, or UNAVAILABLE where asking again will help.
        """
        ...

    def pace(self) -> CellPace:
        """What a cell is to be told now."""
        ...

    def familiar(self, address: str) -> bool:
        """Whether a cell of ours is at this address: who dials from there does not wait among strangers."""
        ...

    def crowded(self) -> None:
        """A cell has dialled and was sent away, since too many dial at once."""
        ...

    def renewable(self, cell: CellName, instance: InstanceId) -> None:
        """Nothing, where a cell may have its next certificate. Raises Fault DENIED where it is over or elsewhere."""
        ...


def token_hash(token: str) -> str:
    """The record of a join token."""
    return hashlib.sha256(token.encode()).hexdigest()


def check(cell: Cell | None, token: str, key: str, identity: Identity, now: float, boot: float = 0.0) -> Cell:
    """The cell that may join. Raises Fault DENIED saying what is wrong, and to a stranger no more than that.

    An instance that may take `boot` seconds to dial has a token that lives as long.
    """
    thing = f"join of instance {identity.instance}"
    if cell is None:
        raise Fault(Kind.DENIED, thing, "no cell was launched on it", reason="UnknownInstance")
    if not hmac.compare_digest(cell.join_token_hash, token_hash(token)):
        raise Fault(Kind.DENIED, thing, "its join token is not the one of its launch", reason="WrongToken")
    again = cell.state in LIVE and cell.joined_key != "" and hmac.compare_digest(cell.joined_key, key)
    if cell.state not in JOINING and not again:
        raise Fault(
            Kind.DENIED, thing, f"its cell is {cell.state.value}: an instance joins once", reason="JoinedBefore"
        )
    if now - cell.moments.get("launching", now) > max(TOKEN_LIFE, boot):
        raise Fault(Kind.DENIED, thing, "its join token has expired", reason="ExpiredToken")
    if identity.pending_at and identity.pending_at < cell.moments.get("launching", 0.0) - CLOCKS_APART:
        cause = "its document is older than its launch"
        raise Fault(Kind.DENIED, thing, cause, "if it is not, set this machine's clock", reason="StaleDocument")
    return cell


def check_renewal(cell: Cell | None, name: CellName, instance: InstanceId) -> None:
    """Raise Fault DENIED unless the cell is one of ours that lives, on this instance."""
    thing = f"renewal of cell {name}"
    if cell is None:
        raise Fault(Kind.DENIED, thing, "there is no such cell any more", reason="UnknownCell")
    if cell.state not in LIVE:
        raise Fault(Kind.DENIED, thing, f"it is {cell.state.value}", reason="CellOver")
    if cell.instance != instance:
        raise Fault(Kind.DENIED, thing, f"it is not on instance {instance}", reason="WrongInstance")
