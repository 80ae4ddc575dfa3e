"""A cell: its record, its states, and the one function that moves it from one to the next."""

from __future__ import annotations

import enum

import msgspec

from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand, Offer
from controller.model.pod import PodClaim


class CellState(enum.Enum):
    """`requested → launching → booting → ready → claimed → retiring → gone`, and `lost` from any live state."""

    REQUESTED = "requested"
    LAUNCHING = "launching"
    BOOTING = "booting"
    READY = "ready"
    CLAIMED = "claimed"
    RETIRING = "retiring"
    LOST = "lost"
    GONE = "gone"


class Standby(msgspec.Struct, frozen=True, kw_only=True):
    """What a warm cell was requested as, kept when a pod takes it.

    `of` is the name of its class; `annotations` the class's `chinampa.dev/…` requirements; `max_price` the most that
    its instance may cost, in USD per hour, 0 where all is free. `agent` and `image` are the versions that it was to
    boot, "" where unknown.
    """

    of: str
    max_price: float
    annotations: dict[str, str] = {}
    agent: str = ""
    image: str = ""


# What a pod leaves of a warning for the last bytes of its logs, and for AWS's clock and ours to differ.
MARGIN = 10.0


class NoticeKind(enum.StrEnum):
    """What a cloud says will happen to an instance, or has happened."""

    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"
    MAINTENANCE = "maintenance"
    STATE_CHANGE = "state-change"


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud said will happen to a cell's instance, `heard_at` the unix second at which it did.

    `kind` and `message` as in its notice; `at` is the unix second by which, 0 if unknown. `ends` tells that all that
    runs on the instance ends then; `ending_since` from when on the pod is told to end for it, 0 while it is not.
    """

    kind: NoticeKind
    at: float
    message: str
    heard_at: float
    ends: bool = False
    ending_since: float = 0.0

    @property
    def over_by(self) -> float:
        """The unix second by which the pod is to have ended; infinite where nobody knows."""
        return self.at - MARGIN if self.at else float("inf")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a cell. Times are unix seconds; 0 means "not yet".

    `claim` is the pod it is for (None: a warm cell, and then `standby` is set), and `assigned_at` when a pod took a
    warm one; `boots` is the number of launches tried, part of the client token. `announced` is what the cloud said
    will happen to its instance; `joined_key` is a digest of the key with which it joined. `moments` holds when each
    stage was reached, by name. `connected` is not stored: it tells whether the cell's connection stands now.
    """

    name: CellName
    state: CellState
    demand: Demand
    claim: PodClaim | None = None
    assigned_at: float = 0.0
    standby: Standby | None = None
    offer: Offer | None = None
    instance: InstanceId | None = None
    client_token: str = ""
    join_token_hash: str = ""
    joined_key: str = ""
    address: str = ""
    pod_address: str = ""
    pod_address6: str = ""
    reason: str = ""
    announced: Announcement | None = None
    created_at: float = 0.0
    changed_at: float = 0.0
    last_heartbeat: float = 0.0
    boots: int = 0
    moments: dict[str, float] = {}
    connected: bool = False


def known_by(cell: Cell, now: float) -> Cell:
    """The cell with nothing known of it from times to come: it was written while the clock was ahead, and until the
    clock came there again it would be heard, and no limit of its state run out.
    """
    if max(cell.created_at, cell.changed_at, cell.assigned_at, cell.last_heartbeat, *cell.moments.values()) <= now:
        return cell
    return msgspec.structs.replace(
        cell,
        created_at=min(cell.created_at, now),
        changed_at=min(cell.changed_at, now),
        assigned_at=min(cell.assigned_at, now),
        last_heartbeat=min(cell.last_heartbeat, now),
        moments={stage: min(at, now) for stage, at in cell.moments.items()},
    )
