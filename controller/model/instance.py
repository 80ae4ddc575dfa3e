"""Instances as a cloud reports them."""

from __future__ import annotations

import enum

import msgspec

from controller.model.names import InstanceId
from controller.model.offer import LaunchType


class InstanceState(enum.Enum):
    """As in EC2; of those that are STOPPED something is still left to be ended and paid for."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    TERMINATED = "terminated"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. `client_token` is the one it was launched with; addresses are empty until known, and `pod_address6`
    where the cloud gives none of IPv6.
    """

    id: InstanceId
    state: InstanceState
    type: str
    zone: str
    launch_type: LaunchType
    client_token: str
    address: str = ""
    pod_address: str = ""
    pod_address6: str = ""
    launched_at: float = 0.0
    tags: dict[str, str] = {}
    state_reason: str = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified instance identity document says."""

    instance: InstanceId
    account: str
    region: str
    zone: str
    type: str
    address: str
    pending_at: float = 0.0
