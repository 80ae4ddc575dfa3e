"""The local cloud: instances are namespaces of this machine, and boot their user-data as on EC2.

Not a security boundary: what runs in an instance as root with all capabilities can reach this machine's kernel.
Everything of an instance is written down before it is made, so that a killed controller's successor finds it again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.local import addresses, identity_documents, instance_types
from controller.clouds.local.instance_records import InstanceRecords, Record, Stage, instance_of, unknown
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.machines import Machines
from controller.clouds.local.refusals import first_fit, no_offers
from controller.clouds.protocol import Cloud, LaunchOutcome, LaunchRequest, Login, Notice
from controller.clouds.userdata import LIMIT_BYTES
from controller.model.cell import NoticeKind
from controller.model.instance import Identity, Instance
from controller.model.names import InstanceId
from controller.model.offer import Offer
from hostkit import locks
from hostkit.tasks import KeyedLocks

_AT_ONCE = 8  # launches that run side by side; more only take turns on the cores
_EMPTY_TRASH_SECONDS = 30.0
_LOCK_SECONDS = 5.0
_BURY_AGAIN_SECONDS = 1.0
_PUBLIC = "chinampa.dev/public-address"


class LocalCloud(Cloud):
    """See `controller.clouds.protocol.Cloud`."""

    def __init__(self, settings: LocalSettings, signer: identity_documents.Signer) -> None:
        self._settings = settings
        self._signer = signer
        self._records = InstanceRecords(settings.root / "records")
        self._deaths: asyncio.Queue[InstanceId] = asyncio.Queue()
        self._machines = Machines(settings, signer, self._deaths.put_nowait)
        self._turns = KeyedLocks[str]()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._listeners: set[asyncio.Queue[Notice]] = set()
        self._ended: dict[InstanceId, float] = {}
        self._machine = os.uname().machine
        self._memory_mib = settings.memory_mib or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        self._offers = instance_types.offers(self._machine, settings.zone, os.cpu_count() or 1, self._memory_mib)

    @property
    def name(self) -> str:
        """Short name."""
        return "local"

    async def offers(self) -> tuple[Offer, ...]:
        """Every type that this machine is large enough for."""
        return self._offers

    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        """Boot one instance; returns once its user-data can run."""
        try:
            async with self._turns[request.client_token]:
                known = self._records.with_token(request.client_token)
                if known is not None:
                    return LaunchOutcome(client_token=request.client_token, instance=instance_of(known))
                async with self._slots:
                    return await self._boot(request)
        except Fault as fault:
            return LaunchOutcome(client_token=request.client_token, fault=fault)

    async def instances(self) -> tuple[Instance, ...]:
        """Every instance that is not long terminated. One whose launch is under way is none yet: it may fail."""
        self._forget_old(time.monotonic())
        return tuple(instance_of(record) for record in self._records.all() if record.stage is not Stage.LAUNCHING)

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """End these instances; returns once nothing of them is left but their disks, which follow.

        One that does not end keeps none of the others: its Fault TIMEOUT is raised when all were tried.
        """
        faults: list[Fault] = []

        async def end(instance: InstanceId) -> None:
            try:
                await self._terminate(instance, "Client.UserInitiatedShutdown")
            except Fault as fault:
                faults.append(fault)

        async with asyncio.TaskGroup() as tasks:
            for instance in dict.fromkeys(instances):
                tasks.create_task(end(instance))
        if faults:
            raise faults[0]

    def verify(self, document: bytes, signature: bytes) -> Identity:
        """Check against the key of this cloud."""
        return self._signer.verify(document, signature)

    def share(self, image: str, login: Login | None, image_id: str = "") -> None:
        """Bring its layers to where instances of this machine find them."""
        self._machines.layers.want(image, login, image_id)

    async def notices(self) -> AsyncGenerator[Notice]:
        """Instances that ended by themselves."""
        heard: asyncio.Queue[Notice] = asyncio.Queue()
        self._listeners.add(heard)
        try:
            while True:
                yield await heard.get()
        finally:
            self._listeners.discard(heard)

    async def open(self) -> None:
        """Find the instances of a former controller again; end what it left half-made or half-ended."""
        self._records.load()
        await self._machines.prepare()
        for record in self._records.all():
            if record.stage is Stage.LAUNCHING:
                await self._clear(record)
            elif record.stage is Stage.RUNNING and self._machines.alive(record):
                await self._resume(record)
            elif record.live:
                await self._bury_one(record.id, record.reason or "Server.InternalError")
        known = {str(record.id) for record in self._records.all() if record.live}
        for stranger in self._machines.strangers(known):
            await self._clear(unknown(InstanceId(stranger)))
        self._drop_layers()

    async def work(self) -> None:
        """What goes on as long as the cloud is open."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._machines.empty_trash())
            tasks.create_task(self._bury())
            tasks.create_task(self._machines.layers.work())

    async def close(self) -> None:
        """Let go of the instances, which run on; wait for the disks of ended ones to be removed."""
        await self._machines.close()
        if not any(record.live for record in self._records.all()):
            await self._machines.withdraw()
        try:
            async with asyncio.timeout(_EMPTY_TRASH_SECONDS):
                await self._machines.emptied()
        except TimeoutError:
            pass  # the next start goes on with it

    async def _boot(self, request: LaunchRequest) -> LaunchOutcome:
        if len(request.user_data.encode()) > LIMIT_BYTES:
            raise Fault(Kind.INVALID, "user-data", f"is longer than {LIMIT_BYTES} bytes", "shorten it")
        live = [record for record in self._records.all() if record.live]
        free_mib = self._memory_mib - sum(record.memory_mib for record in live)
        found, refused = first_fit(request.offers, self._offers, self._settings.refusals, free_mib)
        unfulfilled = tuple(refusal.unfulfilled for refusal in refused)
        if found is None:
            why = refused[-1].fault if refused else no_offers()
            return LaunchOutcome(client_token=request.client_token, fault=why, unfulfilled=unfulfilled)
        record = self._records.save(self._draw_up(request, found))
        try:
            record = await self._machines.boot(record, self._running)
        except BaseException:
            self._records.forget(record)
            raise
        record = self._records.get(record.id) or record
        return LaunchOutcome(client_token=request.client_token, instance=instance_of(record), unfulfilled=unfulfilled)

    def _running(self, record: Record) -> Record:
        return self._records.save(msgspec.structs.replace(record, stage=Stage.RUNNING))

    def _draw_up(self, request: LaunchRequest, offer: Offer) -> Record:
        records = self._records.all()
        used = {record.address for record in records if record.live}
        last = records[-1].address if records else ""
        address, pod_address = addresses.pair_after(self._settings.subnet, last, used)
        public = self._settings.public_subnet if wants_public(request.annotations) else ""
        taken = {record.public_address for record in records if record.live}
        return Record(
            id=InstanceId("i-" + secrets.token_hex(9)[:17]),
            client_token=request.client_token,
            stage=Stage.LAUNCHING,
            type=offer.shape.type,
            zone=offer.zone,
            launch_type=offer.launch_type,
            cpu_millis=offer.shape.cpu_millis,
            memory_mib=offer.shape.memory_mib,
            address=address,
            pod_address=pod_address,
            pod_address6=addresses.sixth(self._settings.subnet6, self._settings.subnet, pod_address),
            mac=addresses.mac(address),
            hostname=addresses.hostname(address),
            user_data=request.user_data,
            tags=dict(request.tags),
            launched_at=time.time(),
            public_address=addresses.free_public(public, taken) if public else "",
            shared=self._machines.layers.generation,
        )

    async def _terminate(self, instance: InstanceId, reason: str) -> None:
        known = self._records.get(instance)
        if known is None:
            return
        async with self._turns[known.client_token]:
            record = self._records.get(instance)
            if record is None or not record.live:
                return
            record = self._records.save(msgspec.structs.replace(record, stage=Stage.STOPPING, reason=reason))
            await self._machines.end(record)
            self._records.save(msgspec.structs.replace(record, stage=Stage.TERMINATED, user_data=""))
            self._drop_layers()

    async def _clear(self, record: Record) -> None:
        """Remove what there is of an instance that nobody was promised; where it does not end, it is buried later."""
        try:
            await self._machines.end(record)
        except Fault:
            self._records.save(msgspec.structs.replace(record, stage=Stage.STOPPING, reason="Server.InternalError"))
            self._deaths.put_nowait(record.id)
        else:
            self._records.forget(record)

    async def _resume(self, record: Record) -> None:
        try:
            await self._machines.resume(record)
        except (Fault, OSError):  # it ended between the look and the call
            await self._bury_one(record.id, "Server.InternalError")

    async def _bury(self) -> None:
        """Clean up after instances that ended by themselves, and say so."""
        while True:
            instance = await self._deaths.get()
            record = self._records.get(instance)
            if record is None or not record.live:
                continue
            ended = record.stage is Stage.RUNNING
            reason = record.reason or "Client.InstanceInitiatedShutdown"
            if not await self._bury_one(instance, reason):
                await asyncio.sleep(_BURY_AGAIN_SECONDS)
            if ended:
                for heard in self._listeners:
                    heard.put_nowait(
                        Notice(
                            instance=instance,
                            kind=NoticeKind.STATE_CHANGE,
                            at=time.time(),
                            message=f"terminated: {reason}",
                        )
                    )

    async def _bury_one(self, instance: InstanceId, reason: str) -> bool:
        """Whether nothing of it is left; it is come back to where something is."""
        try:
            await self._terminate(instance, reason)
        except Fault:
            self._deaths.put_nowait(instance)
            return False
        return True

    def _drop_layers(self) -> None:
        self._machines.drop_layers({record.shared for record in self._records.all() if record.live})

    def _forget_old(self, now: float) -> None:
        # By a clock that nobody sets: after a jump of the other an instance that has just ended would be unheard of.
        for record in self._records.all():
            if record.live or now - self._ended.setdefault(record.id, now) <= self._settings.keep_terminated_seconds:
                continue
            self._records.forget(record)
            del self._ended[record.id]


def wants_public(annotations: Mapping[str, str]) -> bool:
    """Whether a pod asks for a public address."""
    return annotations.get(_PUBLIC, "").strip().lower() == "true"


@asynccontextmanager
async def running(settings: LocalSettings) -> AsyncGenerator[Cloud]:
    """The local cloud, open. Raises Fault EXISTS where another controller has the same folder open."""
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o711)
    async with _alone(settings):
        cloud = LocalCloud(settings, identity_documents.signer(settings.root / "identity.key"))
        await cloud.open()
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(cloud.work())
            try:
                yield cloud
            finally:
                await cloud.close()
                work.cancel()


@asynccontextmanager
async def _alone(settings: LocalSettings) -> AsyncGenerator[None]:
    with locks.file(settings.root / "lock") as descriptor:
        if not await locks.wait(descriptor, _LOCK_SECONDS):
            raise Fault(
                Kind.EXISTS,
                f"local cloud {settings.root}",
                "another controller has it open",
                "stop that one, or give this one a root, cluster, bridge and subnet of its own",
            )
        yield
