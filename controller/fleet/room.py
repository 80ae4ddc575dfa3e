"""The fleet's room: what shim, pods and API may ask of it, and the tasks that keep it true."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import msgspec
import structlog
from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies
from controller.choice import requirements
from controller.choice.unavailable import Unavailable
from controller.clouds.protocol import Cloud
from controller.fleet.adoption import Adoption, Owner, needed
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.joining import Admittance
from controller.fleet.plan import FleetLimits
from controller.fleet.pool.keeper import Figures, Pool, PoolSettings
from controller.fleet.pool.pool_plan import Request
from controller.fleet.pool.warm_cells import Versions
from controller.fleet.reconciler import Reconciler
from controller.fleet.registry_facts import RegistryFacts
from controller.fleet.reports import Reports, Vitals
from controller.link.join_checks import Admitted, CellPace
from controller.link.port import ConnectionChange
from controller.link.report_checks import Happened
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim
from controller.model.transitions import ENDING, LIVE, Assigned, Claimed, InvalidStep, Retired
from controller.store.record_store import Store
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the fleet behaves. Times in seconds: `survey` between lists of instances, `heartbeat` between heartbeats,
    `homeless` is how long a cell looks for a controller before it ends itself, 0 for ever. `agent_version` is that of
    the agent which instances launched now run, where the controller knows it.
    """

    cluster: str = "default"
    limits: FleetLimits = FleetLimits()
    survey: float = 10.0
    heartbeat: float = 5.0
    homeless: float = 0.0
    standby: PoolSettings = PoolSettings()
    registries: tuple[RegistryFacts, ...] = ()
    proxies: Proxies = Proxies()
    agent_version: str = ""


class Fingerprinted(Protocol):
    """A certificate authority."""

    @property
    def fingerprint(self) -> str:
        """Of its certificate, as in user-data."""
        ...


class CellConnections(Protocol):
    """What the fleet asks of the link."""

    @property
    def controllers(self) -> tuple[str, ...]:
        """Each "host:port" by which cells reach us."""
        ...

    @property
    def authority(self) -> Fingerprinted:
        """Whose certificate cells trust."""
        ...

    @property
    def agents(self) -> Mapping[str, str]:
        """SHA-256 of the agent's bundle, by architecture, which images without an agent fetch from us."""
        ...

    def channel(self, cell: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNREACHABLE."""
        ...

    def disconnect(self, cell: CellName) -> None:
        """End a cell's connection, if there is one."""
        ...

    def changes(self) -> AsyncIterator[ConnectionChange]:
        """What happens to connections and what cells report."""
        ...


class Fleet:
    """See `controller.fleet.cells.Cells`; also admits joining instances, for the link."""

    def __init__(
        self,
        book: CellStore,
        act: Executor,
        reconciler: Reconciler,
        pool: Pool,
        admittance: Admittance,
        hearing: Reports,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._act = act
        self._reconciler = reconciler
        self._pool = pool
        self._admittance = admittance
        self._port = hearing.port
        self._clock = clock
        self._turns = KeyedLocks[PodUid]()
        self.hearing = hearing

    async def claim(self, claim: PodClaim) -> Cell:
        """The cell of this pod attempt, claimed and connected; launches one where there is none."""
        required = requirements.read(claim.annotations)
        while True:
            cell = self._book.of_pod(claim.pod.uid, claim.pod.attempt)
            if cell is None:
                # To the end even if the caller leaves: half of it would let the next caller make a second cell.
                cell = await self._book.owned(self._made(claim, required))
            if cell.claim is not None and cell.claim.by != claim.by:
                thing = f"pod {claim.pod.namespace}/{claim.pod.name}"
                raise Fault(Kind.DENIED, thing, "its cell was claimed by another", reason="ClaimedByAnother")
            try:
                return await self._handed_over(cell.name, claim)
            except Fault:
                over = self._book.get(cell.name)
                if over is None or over.announced is None or not over.announced.ends or over.state not in ENDING:
                    raise
                log.info("its instance was to end before it was handed over: another is made", cell=cell.name)

    async def release(self, name: CellName, reason: str) -> None:
        """The pod is over: retire the cell. Returns once that is written down."""
        cell = self._book.get(name)
        if cell is None or cell.state not in LIVE:
            return
        try:
            await self._book.change(name, Retired(reason))
        except InvalidStep as error:
            log.debug("over already", cell=name, state=error.state.value)

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        return self._book.get(name)

    def list(self) -> tuple[Cell, ...]:
        """All cells that are not gone, by name."""
        return self._book.all()

    def channel(self, name: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNREACHABLE."""
        return self._port.channel(name)

    async def connected(self, name: CellName) -> Channel:
        """As `channel`, but waits for the cell to (re)connect; raises Fault UNAVAILABLE once it is lost or gone."""

        def ready() -> Channel | None:
            cell = self._book.get(name)
            over = cell is None or cell.state is CellState.LOST or (cell.state in ENDING and not cell.connected)
            if cell is None or over:
                cause = cell.reason if cell else "it is gone"
                raise Fault(Kind.UNAVAILABLE, f"cell {name}", cause, reason="CellLost")
            return self._port.channel(name) if cell.connected else None

        return await self._book.until(name, ready)

    def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change of state or connection."""
        return self._book.watch()

    def events(self) -> AsyncIterator[tuple[CellName, Happened]]:
        """What cells say happened on them, from now on, until the caller stops iterating."""
        return self.hearing.events()

    def estimate(self, demand: Demand, annotations: Mapping[str, str]) -> float:
        """See Telling."""
        return self._act.estimate(demand, requirements.read(annotations))

    def vitals(self, name: CellName) -> Vitals | None:
        """What a connected cell last said of itself; None where it has said nothing yet."""
        return self.hearing.vitals.get(name)

    async def admit(self, token: str, key: str, identity: Identity) -> Admitted:
        """See `controller.link.join_checks.Admission`."""
        return await self._admittance.admit(token, key, identity)

    def pace(self) -> CellPace:
        """See `controller.link.join_checks.Admission`."""
        return CellPace(self._reconciler.rhythm.told, self._reconciler.redial_window)

    def familiar(self, address: str) -> bool:
        """See `controller.link.join_checks.Admission`."""
        return self._admittance.familiar(address)

    def crowded(self) -> None:
        """See `controller.link.join_checks.Admission`."""
        self._reconciler.crowded()

    def renewable(self, cell: CellName, instance: InstanceId) -> None:
        """See `controller.link.join_checks.Admission`. Raises Fault DENIED."""
        self._admittance.renewable(cell, instance)

    def new_warm(self, request: Request) -> Cell:
        """The record of a cell that is for nobody yet."""
        return msgspec.structs.replace(self._fresh(request.demand, None), standby=request.standby)

    def pool(self) -> tuple[Figures, ...]:
        """Hits, misses and stock of each class of warm cells."""
        return self._pool.figures(self._book.unclaimed())

    def likely_images(self, of: str) -> tuple[str, ...]:
        """Images that the next pods of a class of warm cells will likely need."""
        return self._pool.likely_images(of)

    def unavailable(self) -> Unavailable:
        """Which offers the cloud refused of late."""
        return self._act.unavailable

    def refusals(self) -> Mapping[str, int]:
        """How often launches were refused, by code, since the start."""
        return self._act.refusals

    async def _made(self, claim: PodClaim, required: requirements.Requirements) -> Cell:
        """One cell for the pod, warm or new; one caller at a time for each pod."""
        async with self._turns[claim.pod.uid]:
            cell = self._book.of_pod(claim.pod.uid, claim.pod.attempt)
            if cell is not None:
                return cell
            await self._retire_former(claim)
            took = await self._warm(claim, required)
            self._pool.came(claim, required, took)
            return took or await self._book.add(self._fresh(claim.demand, claim))

    async def _handed_over(self, name: CellName, claim: PodClaim) -> Cell:
        """Wait until the cell is ready, then write down that the pod has it."""
        self._reconciler.waits(name, 1)
        try:
            while True:
                cell = await self._book.until(name, lambda: self._ready(name, claim))
                if cell.state is CellState.CLAIMED:
                    return cell
                try:
                    return await self._book.change(name, Claimed())
                except InvalidStep as error:
                    log.debug("overtaken", cell=name, state=error.state.value)
        finally:
            self._reconciler.waits(name, -1)

    def _ready(self, name: CellName, claim: PodClaim) -> Cell | None:
        cell = self._book.get(name)
        if name in self._act.faults:
            raise self._act.faults[name]
        if cell is None or cell.state not in LIVE:
            cause = cell.reason if cell is not None and cell.reason else "it is gone"
            raise Fault(
                Kind.UNAVAILABLE,
                f"cell {name} of pod {claim.pod.namespace}/{claim.pod.name}",
                cause,
                "ask again for another",
                reason="CellLost",
            )
        ready = cell.state in {CellState.READY, CellState.CLAIMED} and cell.connected
        return cell if ready else None

    async def _retire_former(self, claim: PodClaim) -> None:
        """Cells of earlier attempts that were never handed over are nobody's now."""
        for cell in self._book.of_attempts(claim.pod.uid):
            of = cell.claim.pod if cell.claim and cell.claim.by == claim.by else None
            if of is None or of.attempt >= claim.pod.attempt:
                continue
            if cell.state in LIVE - {CellState.CLAIMED}:
                await self.release(cell.name, f"superseded by attempt {claim.pod.attempt} of its pod")

    async def _warm(self, claim: PodClaim, required: requirements.Requirements) -> Cell | None:
        """A warm cell for the pod, if one suits."""
        for name in await self._pool.best(self._book.unclaimed(), claim, required):
            try:
                return await self._book.change(name, Assigned(claim))
            except (InvalidStep, Fault) as error:
                log.debug("another was faster", cell=name, cause=str(error))
        return None

    def _fresh(self, demand: Demand, claim: PodClaim | None) -> Cell:
        now = self._clock()
        return Cell(
            name=CellName(f"c-{secrets.token_hex(5)}"),
            state=CellState.REQUESTED,
            demand=demand,
            claim=claim,
            created_at=now,
            changed_at=now,
            moments={"requested": now},
        )


SECRETS = "secrets"


async def _secret(store: Store) -> bytes:
    """The secret from which join tokens are derived; made once."""
    known = await store.get(SECRETS, "join")
    if known is None:
        await store.put(SECRETS, "join", secrets.token_bytes(32), expected=0)
        known = await store.get(SECRETS, "join")
    if known is None:
        raise Fault(Kind.BROKEN, "store", "it does not keep what is written")
    return known.value


@asynccontextmanager
async def running(
    settings: FleetSettings,
    store: Store,
    cloud: Cloud,
    port: CellConnections,
    clock: Callable[[], float] = time.time,
    owners: Sequence[Owner] = (),
) -> AsyncGenerator[Fleet]:
    """The fleet, at work for as long as the context lives. Cells and instances outlive it.

    `owners` know pods again on cells whose records were lost; it opens when that is done.
    """
    secret = await _secret(store)
    orphaned = bool(owners) and await needed(store)
    # Records outlive the work: the inner group is cancelled, the outer one finishes what is being written.
    async with asyncio.TaskGroup() as writing:
        book = CellStore(store, writing, clock)
        await book.load()
        act = Executor(
            book,
            cloud,
            LaunchFacts(
                settings.cluster, lambda: port.controllers, lambda: port.authority.fingerprint, lambda: port.agents
            ),
            secret,
            clock,
            store.check_lead,
        )
        with suppress(Fault):
            await act.offers()  # so that prices can be told before the first launch
        async with asyncio.TaskGroup() as tasks:
            pool = Pool(settings.standby, store, act.buyable, partial(_versions, cloud, settings.agent_version), clock)
            await pool.load()
            reconciler = Reconciler(book, cloud, act, settings.limits, pool, clock, tasks)
            admittance = Admittance(
                *(book, settings.registries, settings.heartbeat, clock, settings.proxies, settings.homeless),
                settings.limits.boot,
            )
            hearing = Reports(book, port, welcomes=orphaned)
            fleet = Fleet(book, act, reconciler, pool, admittance, hearing, clock)

            def add_warm(request: Request) -> None:
                writing.create_task(_added(book, fleet.new_warm(request)))

            work = [
                tasks.create_task(reconciler.follow(), name="follow cells"),
                tasks.create_task(reconciler.resync_often(settings.survey), name="resync"),
                tasks.create_task(reconciler.notices.heed(reconciler.resync_soon), name="notices"),
                tasks.create_task(pool.remember_often(), name="memory of the pool"),
                tasks.create_task(hearing.listen(clock), name="hear cells"),
            ]
            try:
                if orphaned:
                    adoption = Adoption(book, cloud, store, hearing, settings.limits, clock)
                    await adoption.work(owners)
                # Not before: it ends instances that nobody knows.
                work.append(tasks.create_task(reconciler.pass_often(add_warm), name="full passes"))
                yield fleet
            finally:
                for task in work:
                    task.cancel()
                await reconciler.drain()


def _versions(cloud: Cloud, agent: str) -> Versions:
    return Versions(agent, cloud.image)


async def _added(book: CellStore, cell: Cell) -> None:
    try:
        await book.add(cell)
    except Fault as fault:
        log.warning("a warm cell could not be written down", cause=str(fault))
