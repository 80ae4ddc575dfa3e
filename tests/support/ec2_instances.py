"""Boots what moto says is running: each instance is a local machine with moto's instance id, addresses and user-data,
an identity document signed by the tests' own certificate, and a metadata service that says so; it ends when moto says
that it is terminated, and moto hears of it when it ends by itself.

Launches and ends are heard of from the front's log of calls, never by polling. Beyond a number of real boots, instances
are doubles (see ec2_cells), which join but run no pods.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import gzip
import ipaddress
import json
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from moto.ec2.models.instances import StateReason

from cellwire.faults import Fault
from controller.choice.catalogue import shape_of
from controller.clouds.local import addresses, identity_documents
from controller.clouds.local.instance_records import Record, Stage
from controller.clouds.local.instance_types import architecture
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.machines import Machines
from controller.clouds.local.sweep import sweep
from controller.model.names import InstanceId
from controller.model.offer import LaunchType, Shape
from tests.support import ec2_network, rsa_keys
from tests.support.ec2_cells import Doubles
from tests.support.ec2_front import Ec2Front, ObservedCall
from tests.support.ec2_launches import backend
from tests.support.ec2_pricing import CATALOGUE
from tests.support.qemu_machines import Hardware, QemuMachines

REAL = 20
AT_ONCE = 4
SHUTDOWN = "Client.InstanceInitiatedShutdown"
SPOT = "Server.SpotInstanceTermination"


@functools.cache
def shapes() -> dict[str, Shape]:
    """EC2's types by name, from the bundled catalogue."""
    return {name: shape_of(name, entry) for name, entry in json.loads(CATALOGUE.read_text())["types"].items()}


class Instances:
    """The machines behind moto's instances. `failed` has the reason of each that could not be booted."""

    def __init__(
        self,
        front: Ec2Front,
        settings: LocalSettings,
        real: int,
        doubles: Doubles,
        tasks: asyncio.TaskGroup,
        hardware: Hardware | None,
    ) -> None:
        self.settings = settings
        self.certificate = settings.root / "identity.pem"
        self.booted: Counter[str] = Counter()
        self.failed: dict[InstanceId, str] = {}
        self._front = front
        self._left = self._real = real
        self._tasks = tasks
        self._deaths: asyncio.Queue[InstanceId] = asyncio.Queue()
        rsa_keys.give_identity_key(settings.root)
        self._signer = identity_documents.signer(settings.root / "identity.key")
        made = Machines if hardware is None else partial(QemuMachines, hardware)
        self._machines = made(settings, self._signer, self._deaths.put_nowait)
        self._doubles = doubles
        self._records: dict[InstanceId, Record] = {}
        self._living: dict[InstanceId, asyncio.Task[None]] = {}
        self._turns: dict[InstanceId, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._drawing = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> int:
        """How many machines and doubles there are."""
        return len(self._records) + len(self._living)

    def console(self, instance: str) -> str:
        """What a virtual machine has written to its serial line."""
        assert isinstance(self._machines, QemuMachines)
        return self._machines.console(instance)

    def pid(self, instance: str) -> int:
        """The first process of a real one, as this machine counts."""
        return self._records[InstanceId(instance)].pid

    async def open(self) -> None:
        """Make what the machines share: the bridge above all, at whose address a controller can listen then."""
        self.certificate.write_bytes(_certificate((self.settings.root / "identity.key").read_bytes()))
        if self._left:
            await self._machines.prepare()
            await self._draw()

    async def follow(self, heard: asyncio.Queue[ObservedCall]) -> None:
        """Boot and end, as the calls go by, for ever."""
        self._start(self._bury())
        if self._left:
            self._start(self._machines.empty_trash())
        while True:
            call = await heard.get()
            match call.action:
                case "RunInstances" | "CreateFleet" if not call.repeated:
                    for instance in call.instances:
                        self._start(self._boot(InstanceId(instance)))
                case "TerminateInstances":
                    for instance in call.instances:
                        self._start(self._end(InstanceId(instance)))
                case action if self._real and action in ec2_network.ACTIONS:
                    self._start(self._draw())
                case _:
                    pass

    async def stop(self, instance: str, reason: str = SHUTDOWN) -> None:
        """The cloud ends an instance that nobody asked to end: a spot instance that is taken back, say."""
        await _terminated(self._front, instance, reason)
        await self._end(InstanceId(instance))

    async def close(self) -> None:
        """Stop what is under way; let go of the machines, which a sweep ends."""
        for task in tuple(self._work):
            task.cancel()
        await self._machines.close()

    async def _boot(self, instance: InstanceId) -> None:
        async with self._turn(instance):
            if backend().get_instance(instance).state == "terminated":
                return
            record = self._draw_up(instance)
            if self._left <= 0:
                self._living[instance] = self._start(self._doubles.live(instance, self._tree(record)))
                self.booted["double"] += 1
                return
            self._left -= 1
            try:
                async with self._slots:
                    self._records[instance] = record
                    self._records[instance] = await self._machines.boot(record, lambda known: known)
            except Fault as fault:
                self._records.pop(instance, None)
                self.failed[instance] = str(fault)
                await _terminated(self._front, instance, "Server.InternalError")
            else:
                self.booted["real"] += 1

    async def _draw(self) -> None:
        async with self._drawing:
            if isinstance(self._machines, Machines):  # virtual machines have a bridge and no more
                await ec2_network.draw(self._machines.router, tuple(self._records.values()))

    async def _end(self, instance: InstanceId) -> None:
        async with self._turn(instance):
            if living := self._living.pop(instance, None):
                living.cancel()
            if record := self._records.pop(instance, None):
                self._left += 1
                await self._machines.end(record)

    async def _bury(self) -> None:
        while True:
            instance = await self._deaths.get()
            await _terminated(self._front, instance, SHUTDOWN)
            await self._end(instance)

    def _draw_up(self, instance: InstanceId) -> Record:
        told = backend().get_instance(instance)
        interface = told.nics[0]
        others = [one["PrivateIpAddress"] for one in interface.private_ip_addresses if not one.get("Primary")]
        shape = shapes()[told.instance_type]
        data = base64.b64decode(str(told.user_data or ""))
        record = Record(
            id=instance,
            client_token=str(told.client_token),
            stage=Stage.LAUNCHING,
            type=told.instance_type,
            zone=told.availability_zone,
            launch_type=LaunchType.SPOT if told.lifecycle == "spot" else LaunchType.ON_DEMAND,
            cpu_millis=shape.cpu_millis,
            memory_mib=shape.memory_mib,
            address=told.private_ip,
            pod_address=others[0] if others else "",
            mac=addresses.mac(told.private_ip),
            hostname=addresses.hostname(told.private_ip),
            user_data=(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode(),
            tags={tag["key"]: tag["value"] for tag in told.get_tags()},
            launched_at=time.time(),
        )
        return ec2_network.placed(record)

    def _tree(self, record: Record) -> dict[str, bytes]:
        document = identity_documents.document(self.settings, record, architecture(os.uname().machine))
        return {
            "user-data": record.user_data.encode(),
            "dynamic/instance-identity/document": document,
            "dynamic/instance-identity/signature": self._signer.sign(document).encode(),
        }

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def _turn(self, instance: InstanceId) -> asyncio.Lock:
        return self._turns.setdefault(instance, asyncio.Lock())


async def _terminated(front: Ec2Front, instance: str, reason: str) -> None:
    """Have moto say that an instance has ended, and why."""
    await front.ask("TerminateInstances", InstanceIds=[instance])
    backend().get_instance(instance).state_reason = StateReason(f"{reason}: {reason}", reason)


def _certificate(pem: bytes) -> bytes:
    """A certificate of the key that signs identity documents, as AWS publishes one for each region."""
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' EC2")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What an AWS account has before a controller comes: `subnets` by zone, and an image."""

    vpc: str
    subnets: dict[str, str]
    image: str
    route_table: str


async def furnished(front: Ec2Front, cidr: str, zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")) -> Account:
    """Make a VPC over exactly these addresses, a subnet in each zone, and register an image for this machine."""
    vpc = (await front.ask("CreateVpc", CidrBlock=cidr))["Vpc"]["VpcId"]
    subnets: dict[str, str] = {}
    for zone, part in zip(zones, _parts(cidr, len(zones)), strict=False):
        made = await front.ask("CreateSubnet", VpcId=vpc, CidrBlock=part, AvailabilityZone=zone)
        subnets[zone] = made["Subnet"]["SubnetId"]
    image = await front.ask(
        "RegisterImage",
        Name="cell",
        Architecture="arm64" if os.uname().machine == "aarch64" else "x86_64",
        RootDeviceName="/dev/xvda",
    )
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    (table,) = (await front.ask("DescribeRouteTables", Filters=filters))["RouteTables"]
    return Account(vpc=vpc, subnets=subnets, image=image["ImageId"], route_table=table["RouteTableId"])


def _parts(cidr: str, count: int) -> list[str]:
    bits = (count - 1).bit_length()
    return [str(part) for part in ipaddress.ip_network(cidr).subnets(prefixlen_diff=bits)]


@asynccontextmanager
async def booting(
    front: Ec2Front,
    settings: LocalSettings,
    real: int = REAL,
    double_seconds: float = 0.0,
    hardware: Hardware | None = None,
) -> AsyncGenerator[Instances]:
    """Instances of moto's boot as long as this lives; then nothing is left of them on this machine.

    A double takes `double_seconds` to boot. With `hardware`, the real ones are virtual machines. With no real boots,
    nothing of the machine is touched: no root is needed.
    """
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o711)
    settings = msgspec.structs.replace(settings, public_subnet=ec2_network.PUBLIC)
    try:
        async with asyncio.TaskGroup() as tasks:
            instances = Instances(
                front, settings, real, Doubles(settings.root / "doubles", double_seconds), tasks, hardware
            )
            await instances.open()
            with front.watch() as heard:
                following = tasks.create_task(instances.follow(heard))
                try:
                    yield instances
                finally:
                    following.cancel()
                    await instances.close()
    finally:
        if real:
            await sweep(settings)
