"""Offers of a cloud, and the demand of a pod."""

from __future__ import annotations

import enum

import msgspec


class LaunchType(enum.StrEnum):
    """How an instance is paid for."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


class Gpus(msgspec.Struct, frozen=True):
    """GPUs of one kind: `name` and `vendor` as the cloud writes them, lower case; memory per GPU in MiB."""

    count: int
    name: str = ""
    memory_mib: int = 0
    vendor: str = ""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of an instance type. `baseline_millis` is the sustained CPU of a burstable type, else all of it."""

    type: str
    architecture: str
    cpu_millis: int
    memory_mib: int
    baseline_millis: int
    burstable: bool = False
    current_generation: bool = True
    bare_metal: bool = False
    gpus: Gpus | None = None
    storage_gb: int = 0
    network_mbps: int = 0
    addresses: int = 2
    spot: bool = True


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be bought: a type in a zone, on-demand or spot, with its price in USD per hour.

    `dedicated_usd_per_hour` is the price on hardware that no other account shares: None while it is not known, 0 where
    it is not sold so.
    """

    shape: Shape
    zone: str
    launch_type: LaunchType
    usd_per_hour: float
    dedicated_usd_per_hour: float | None = None


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The demand of a pod: what it needs, overhead of the agent included.

    `cpu_millis` thousandths of a CPU, sustained; `architectures` empty means any; `gpu_name` and
    `gpu_vendor` empty mean any kind.
    """

    cpu_millis: int
    memory_mib: int
    architectures: tuple[str, ...] = ()
    gpus: int = 0
    gpu_name: str = ""
    gpu_vendor: str = ""
    disk_gb: int = 0
    network_mbps: int = 0
