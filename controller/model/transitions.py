"""Events of a cell, and the one function that says what it is afterwards. Pure.

`TRANSITIONS` holds every pair that can occur; all others are bugs and raise. Facts that are not stored (heartbeats,
whether the connection stands) are no events: their owner keeps them.
"""

from __future__ import annotations

import msgspec

from controller.model.cell import Announcement, Cell, CellState
from controller.model.names import InstanceId
from controller.model.offer import Offer
from controller.model.pod import PodClaim

S = CellState
# States in which the cell is, or may still become, of use to a pod.
LIVE = frozenset({S.REQUESTED, S.LAUNCHING, S.BOOTING, S.READY, S.CLAIMED})
# States in which the cell is on its way out: nobody may get it any more.
ENDING = frozenset({S.RETIRING, S.LOST})


class InvalidStep(Exception):
    """An event that cannot happen to a cell in its state."""

    def __init__(self, cell: Cell, event: Event) -> None:
        self.state = cell.state
        super().__init__(f"cell {cell.name} is {cell.state.value}: {type(event).__name__} cannot happen to it")


class Launching(msgspec.Struct, frozen=True, kw_only=True):
    """A launch is about to be asked of the cloud, with this token; the join token is known by its hash only."""

    client_token: str
    join_token_hash: str


class LaunchRefused(msgspec.Struct, frozen=True):
    """The cloud launched nothing, and says so: the token is spent and there is no instance of it."""

    reason: str


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud has an instance for the present client token."""

    instance: InstanceId
    offer: Offer | None = None
    address: str = ""
    pod_address: str = ""
    pod_address6: str = ""


class Assigned(msgspec.Struct, frozen=True):
    """A cell that was for nobody is for this pod now."""

    claim: PodClaim


class InstanceJoined(msgspec.Struct, frozen=True):
    """The instance proved who it is and has its certificate, for the key with this digest."""

    key: str


class BootReported(msgspec.Struct, frozen=True):
    """Moments of the boot by name, as the cell tells them once it is connected. What is known already stays."""

    moments: dict[str, float]


class Claimed(msgspec.Struct, frozen=True):
    """The cell is handed to its pod; from now on it is never for another."""


class Announced(msgspec.Struct, frozen=True):
    """The cloud says what will happen to the cell's instance, or the pod is told to end for it."""

    announcement: Announcement


class Retired(msgspec.Struct, frozen=True):
    """Nobody needs the cell any more."""

    reason: str


class Released(msgspec.Struct, frozen=True):
    """There is one warm cell too many. Cannot happen to a cell that a pod has taken meanwhile."""

    reason: str


class Lost(msgspec.Struct, frozen=True):
    """The cell is silent, or its instance is gone, or it could not be had."""

    reason: str


class Ended(msgspec.Struct, frozen=True):
    """There is no instance any more."""


Event = (
    Launching
    | LaunchRefused
    | Launched
    | Assigned
    | InstanceJoined
    | BootReported
    | Claimed
    | Announced
    | Retired
    | Released
    | Lost
    | Ended
)

TRANSITIONS: dict[tuple[CellState, type[Event]], CellState] = {
    (S.REQUESTED, Launching): S.LAUNCHING,
    (S.LAUNCHING, LaunchRefused): S.REQUESTED,
    (S.LAUNCHING, Launched): S.BOOTING,
    (S.BOOTING, InstanceJoined): S.READY,
    (S.READY, Claimed): S.CLAIMED,
    # The answer to a launch may come after the cell was given up: its instance must be known to be ended.
    (S.RETIRING, Launched): S.RETIRING,
    (S.LOST, Launched): S.LOST,
    (S.RETIRING, LaunchRefused): S.RETIRING,
    (S.LOST, LaunchRefused): S.LOST,
    **{(state, Assigned): state for state in LIVE - {S.CLAIMED}},
    **{(state, BootReported): state for state in (S.READY, S.CLAIMED, *ENDING)},
    **{(state, Announced): state for state in (S.BOOTING, S.READY, S.CLAIMED)},
    **{(state, Retired): S.RETIRING for state in LIVE},
    **{(state, Released): S.RETIRING for state in LIVE - {S.CLAIMED}},
    **{(state, Lost): S.LOST for state in LIVE},
    **{(state, Ended): S.GONE for state in ENDING},
}


def step(cell: Cell, event: Event, now: float) -> Cell:
    """The cell after the event. Raises InvalidStep for a pair that is not in `TRANSITIONS`, or a second pod."""
    target = TRANSITIONS.get((cell.state, type(event)))
    taken = isinstance(event, Assigned) and cell.claim is not None and cell.claim.pod != event.claim.pod
    taken = taken or (isinstance(event, Released) and cell.claim is not None)
    if target is None or taken:
        raise InvalidStep(cell, event)
    moments = cell.moments
    if target is not cell.state:
        # A cell that is launched again starts its stages again.
        kept = moments if target is not S.LAUNCHING else {"requested": moments.get("requested", cell.created_at)}
        moments = {**kept, target.value: now}
    changed_at = now if target is not cell.state else cell.changed_at
    after = msgspec.structs.replace(cell, state=target, moments=moments, changed_at=changed_at)
    return _with_facts(after, event, now)


def _with_facts(cell: Cell, event: Event, now: float) -> Cell:
    replace = msgspec.structs.replace
    match event:
        case Launching(client_token=token, join_token_hash=hashed):
            return replace(cell, client_token=token, join_token_hash=hashed, boots=cell.boots + 1, reason="")
        case LaunchRefused(reason):
            spent = replace(cell, client_token="", join_token_hash="")
            return replace(spent, reason=reason) if cell.state is S.REQUESTED else spent
        case Launched():
            return replace(
                cell,
                instance=event.instance,
                offer=event.offer,
                address=event.address,
                pod_address=event.pod_address,
                pod_address6=event.pod_address6,
            )
        case Assigned(claim):
            return replace(cell, claim=claim, assigned_at=now)
        case BootReported(moments):
            return replace(cell, moments={**moments, **cell.moments})
        case Announced(announcement):
            # A pod that was told to end is told once, whoever else would have had it told.
            told = cell.announced is not None and cell.announced.ending_since
            return cell if told else replace(cell, announced=announcement)
        case Retired(reason) | Released(reason) | Lost(reason):
            return replace(cell, reason=reason)
        case InstanceJoined(key):
            return replace(cell, joined_key=key)
        case Claimed() | Ended():
            return cell
