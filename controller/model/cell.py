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

    `of` is the name of its class; `annotations` the class's `chinampa.dev/…` wishes; `max_price` the most that its
    instance may cost, in USD per hour, 0 where all is free. `agent` and `image` are the versions that it was to boot,
    "" where unknown.
    """

    of: str
    max_price: float
    annotations: dict[str, str] = {}
    agent: str = ""
    image: str = ""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of one cell. Times are unix seconds; 0 means "not yet".

    `claim` is the pod it is for (None: a warm cell, and then `standby` is set); `boots` is the number of launches
    tried, part of the client token. `moments` holds when each stage was reached, by name. `connected` is not
    stored: it tells whether the cell's connection stands now.
    """

    name: CellName
    state: CellState
    demand: Demand
    claim: PodClaim | None = None
    standby: Standby | None = None
    offer: Offer | None = None
    instance: InstanceId | None = None
    client_token: str = ""
    join_token_hash: str = ""
    address: str = ""
    pod_address: str = ""
    reason: str = ""
    created_at: float = 0.0
    changed_at: float = 0.0
    last_heartbeat: float = 0.0
    boots: int = 0
    moments: dict[str, float] = {}
    connected: bool = False
