"""The real fleet, link and ec2 cloud in this process, on EC2 as ec2_front has it; instances boot or are doubles.

A world outlives the lives of controllers in it. What kubectl would see is tested with `ec2_controller`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import ec2_cloud
from controller.clouds.ec2.ec2_cloud import Ec2Cloud
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.local import identity_documents
from controller.clouds.local.local_settings import LocalSettings
from controller.fleet import room
from controller.fleet.plan import FleetLimits
from controller.fleet.room import Fleet, FleetSettings
from controller.link import port
from controller.link.port import Link, LinkSettings
from controller.model.cell import Cell, CellState
from controller.model.pod import PodClaim
from controller.store import sqlite
from tests.support.controller import ROOT
from tests.support.ec2_cloud import credentials
from tests.support.ec2_front import ACCOUNT, REGION, Ec2Front, running_front
from tests.support.ec2_instances import Account, Instances, booting, furnished
from tests.support.registry import free_port

ZONES = ("us-east-1a", "us-east-1b")
LIMITS = FleetLimits(lease=30.0, boot=60.0, launch=60.0, grace=0.5, terminate_again=2.0)
SETTINGS = FleetSettings(cluster="test", limits=LIMITS, heartbeat=1.0, survey=0.5)


@dataclass(frozen=True)
class ControllerLife:
    """One life of a controller."""

    cloud: Ec2Cloud
    fleet: Fleet
    link: Link

    @asynccontextmanager
    async def asking(self, *claims: PodClaim) -> AsyncGenerator[tuple[asyncio.Task[Cell], ...]]:
        """Somebody who waits for cells of these pods."""
        async with asyncio.TaskGroup() as tasks:
            asked = tuple(tasks.create_task(self.fleet.claim(claim)) for claim in claims)
            try:
                yield asked
            finally:
                for task in asked:
                    task.cancel()

    def state(self, cell: Cell) -> CellState | None:
        """The state of a cell now; None once it is forgotten."""
        known = self.fleet.get(cell.name)
        return known.state if known is not None else None


@dataclass(frozen=True)
class Ec2World:
    """EC2 and its instances, and where a controller keeps what outlives it."""

    folder: Path
    front: Ec2Front
    account: Account
    instances: Instances
    settings: Ec2Settings
    host: str
    number: int

    @asynccontextmanager
    async def controller(self, fleet: FleetSettings = SETTINGS, **ec2: Any) -> AsyncGenerator[ControllerLife]:
        """A controller with these settings; `ec2` are settings of the cloud."""
        settings = msgspec.structs.replace(self.settings, cluster=fleet.cluster, **ec2)
        fleets: list[Fleet] = []

        def admission() -> Fleet:
            if not fleets:
                raise Fault(Kind.UNAVAILABLE, "join", "the controller is starting", "ask again")
            return fleets[0]

        here = LinkSettings(self.folder / "link", self.host, self.number, (self.host,))
        async with (
            sqlite.running(self.folder / "records.sqlite") as store,
            ec2_cloud.running(settings) as cloud,
            port.running(here, admission, cloud.verify) as link,
            room.running(fleet, store, cloud, link) as opened,
        ):
            fleets.append(opened)
            yield ControllerLife(cloud, opened, link)

    async def described(self) -> list[dict[str, Any]]:
        """Every instance that EC2 tells of, ended ones too."""
        found = await self.front.ask("DescribeInstances")
        return [one for reservation in found["Reservations"] for one in reservation["Instances"]]

    async def alive(self) -> dict[str, dict[str, str]]:
        """Tags of each instance that costs money, by id."""
        return {
            one["InstanceId"]: {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
            for one in await self.described()
            if one["State"]["Name"] not in {"shutting-down", "terminated"}
        }

    def signer(self) -> Callable[[bytes], bytes]:
        """Signs identity documents as this EC2 does."""
        made = identity_documents.signer(self.instances.settings.root / "identity.key")
        return lambda document: made.sign(document).encode()

    def launching(self) -> list[dict[str, Any]]:
        """The parameters of each launching call."""
        return [call.parameters for call in self.front.calls if call.action in {"CreateFleet", "RunInstances"}]


@asynccontextmanager
async def world(
    folder: Path,
    *,
    real: int = 0,
    boot: float = 0.0,
    cidr: str = "10.231.0.0/18",
    zones: tuple[str, ...] = ZONES,
) -> AsyncGenerator[Ec2World]:
    """A world with `real` instances that boot, the others doubles that take `boot` seconds to join."""
    gateway = str(next(ip_network(cidr).hosts()))
    local = LocalSettings(
        cluster=f"world-{os.getpid()}",
        root=folder / "cloud",
        bridge=f"cw{secrets.token_hex(3)}",
        subnet=cidr,
        account=ACCOUNT,
        region=REGION,
        path=(str(Path(sys.executable).parent),),
        python_path=(str(ROOT), str(ROOT / "proto")),
        visible=(str(ROOT), sys.prefix, sys.base_prefix),
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(credentials())
        front = await stack.enter_async_context(running_front())
        account = await furnished(front, cidr, zones)
        local = msgspec.structs.replace(local, image=account.image)
        instances = await stack.enter_async_context(booting(front, local, real, boot))
        settings = Ec2Settings(
            cluster="test",
            region=REGION,
            endpoint_url=front.url,
            account=ACCOUNT,
            subnets=tuple(account.subnets.values()),
            image_amd64=account.image,
            image_arm64=account.image,
            certificates=instances.certificate.parent,
        )
        host = gateway if real else "127.0.0.1"
        yield Ec2World(folder, front, account, instances, settings, host, free_port())
