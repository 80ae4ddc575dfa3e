"""Takes running cells back after their records were lost: a store that is new, a cluster that is not.

Two must agree on which cell an instance is: the cloud's list, by a tag, and the certificate with which the cell dials,
which names both and is signed by the authority's key (that is no record). Then the cell itself is asked which pod runs
on it. A cell that runs none, or one that has another cell by now, is nobody's, and its instance ends like any orphan.

This is done once in a store's life, before anybody can ask for a cell: a pod that is still running must not get a
second one meanwhile. Who was killed in the middle of it begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from grpclib.client import Channel

from cellwire.faults import Fault
from controller.choice import requirements
from controller.choice.catalogue import Catalogue
from controller.clouds.protocol import Cloud
from controller.fleet import launch_parameters
from controller.fleet.cell_store import CellStore
from controller.fleet.plan import RUNNING, FleetLimits
from controller.fleet.reports import Reports, UnknownCell
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Offer
from controller.model.pod import PodClaim
from controller.model.transitions import LIVE, Retired
from controller.store.record_store import Store
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()
KIND, DONE = "fleet", "adoption"
ASK_SECONDS = 30.0
# One that does not answer keeps nobody else waiting; more than this would only share the same time of ours.
AT_ONCE = 64
AGAIN_SECONDS = 2.0


class Owner(Protocol):
    """A room that runs pods on cells, and knows its own again by what is on them."""

    async def recognise(self, cell: CellName, channel: Channel) -> PodClaim | None:
        """The pod of this room that the cell was given, by what it carries of ours; None where it was given none, or
        another's. What a cell says by itself is no proof. Raises Fault.
        """
        ...

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write down what the room has to know of its pod on this cell. Repeating it does no harm. Raises Fault."""
        ...


async def needed(store: Store) -> bool:
    """Whether this store has not been through it."""
    return await store.get(KIND, DONE) is None


class Adoption:
    """See the module."""

    def __init__(
        self,
        book: CellStore,
        cloud: Cloud,
        store: Store,
        hearing: Reports,
        limits: FleetLimits,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._cloud = cloud
        self._store = store
        self._hearing = hearing
        self._port = hearing.port
        self._limits = limits
        self._clock = clock
        self._pods = KeyedLocks[PodUid]()

    async def work(self, owners: Sequence[Owner]) -> None:
        """Wait for the cells of all instances that nobody knows, and take back those that run a pod."""
        unknown = await self._unknown()
        if unknown:
            seconds = self._limits.redial + self._limits.lease
            log.warning("instances run of which there is no record: their cells are waited for",
                        instances=len(unknown), at_most_seconds=seconds)  # fmt: skip
            try:
                async with asyncio.timeout(seconds):
                    await self._meet(unknown, owners)
            except TimeoutError:
                log.warning("cells have not dialled: their instances will be ended", instances=sorted(unknown))
        self._hearing.turn_away()
        await self._store.put(KIND, DONE, b"")

    async def _unknown(self) -> dict[InstanceId, Instance]:
        """The instances that run and have no record."""
        while True:
            try:
                listed = await self._cloud.instances()
            except Fault as fault:
                log.warning("the cloud's instances cannot be listed", cause=str(fault))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            running = {one.id: one for one in listed if one.state in RUNNING}
            return {name: one for name, one in running.items() if self._book.of_instance(name) is None}

    async def _meet(self, unknown: dict[InstanceId, Instance], owners: Sequence[Owner]) -> None:
        """Hear cells as they dial, until none is left to be heard of."""
        turns, asked = asyncio.Semaphore(AT_ONCE), set[InstanceId]()

        async def meet(cell: UnknownCell, instance: Instance) -> None:
            try:
                async with turns, asyncio.timeout(ASK_SECONDS):
                    await self._ask(cell.name, instance, owners)
                unknown.pop(cell.instance)
            except (Fault, TimeoutError) as fault:
                log.warning("a cell could not be asked what it runs; it dials again", cell=cell.name, cause=str(fault))
            asked.discard(cell.instance)
            # As one that is known now, or to be asked again.
            self._port.disconnect(cell.name)
            if not unknown:
                hearing.cancel()

        async def hear() -> None:
            while True:
                cell = await self._hearing.newcomers.get()
                instance = unknown.get(cell.instance)
                if instance is None or not _agree(cell, instance):
                    self._port.disconnect(cell.name)
                elif cell.instance not in asked:
                    asked.add(cell.instance)
                    tasks.create_task(meet(cell, instance), name=f"adoption of {cell.name}")

        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(hear(), name="newcomers")

    async def _ask(self, name: CellName, instance: Instance, owners: Sequence[Owner]) -> None:
        channel = self._port.channel(name)
        for owner in owners:
            claim = await owner.recognise(name, channel)
            if claim is not None:
                break
        else:
            log.warning("a cell runs no pod: its instance will be ended", cell=name, instance=instance.id)
            return
        async with self._pods[claim.pod.uid]:
            await self._take(name, channel, instance, claim, owner)

    async def _take(self, name: CellName, channel: Channel, instance: Instance, claim: PodClaim, owner: Owner) -> None:
        former = self._book.of_attempts(claim.pod.uid)
        if any(each.claim and each.claim.pod.attempt >= claim.pod.attempt for each in former):
            log.warning("the pod of a cell has another: its instance will be ended", cell=name, pod=claim.pod.name)
            return
        sold = Catalogue(await self._cloud.offers()).of(requirements.read(claim.annotations)).offers
        cell = _record(name, instance, claim, sold, self._clock())
        # The room's record first: should we be killed between the two, both are written once more.
        await owner.take(cell, channel)
        await self._book.add(cell)
        log.warning("took a running cell back", cell=name, instance=instance.id, pod=claim.pod.name)
        for each in former:
            if each.state in LIVE:
                await self._book.change(each.name, Retired(f"superseded by attempt {claim.pod.attempt} of its pod"))


def _agree(cell: UnknownCell, instance: Instance) -> bool:
    """Whether the tag is that of the cell. Instances of one launch get their own a moment later."""
    return instance.tags.get(launch_parameters.TAG_CELL, cell.name) == cell.name


def _record(name: CellName, instance: Instance, claim: PodClaim, offers: Sequence[Offer], now: float) -> Cell:
    launched = instance.launched_at or now
    return Cell(
        name=name,
        state=CellState.CLAIMED,
        demand=claim.demand,
        claim=claim,
        offer=launch_parameters.offer_of(instance, offers),
        instance=instance.id,
        client_token=instance.client_token,
        address=instance.address,
        pod_address=instance.pod_address,
        pod_address6=instance.pod_address6,
        created_at=launched,
        # Not now: it is sent away once more, and has the time of one that dialled in vain to come back.
        changed_at=launched,
        boots=1,
        moments={"requested": launched, "booting": launched, CellState.CLAIMED.value: now},
    )
