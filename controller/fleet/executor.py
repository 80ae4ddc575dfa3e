"""The executor of plans: writes the record, then does what was planned.

Every step may be the last before a crash. What is not known after one is found out by the next plan: a launch is
repeated with its token. Instances are ended by the reconciler: for that nothing is written down.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog
from msgspec import UNSET

from cellwire.faults import Fault, Kind
from controller.choice import rank, requirements
from controller.choice.catalogue import Catalogue
from controller.choice.unavailable import Unavailable, marked
from controller.clouds.protocol import Cloud, LaunchOutcome
from controller.clouds.userdata import UserData
from controller.fleet import launch_parameters, plan
from controller.fleet.cell_store import CellStore
from controller.link.join_checks import token_hash
from controller.model import transitions
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance
from controller.model.names import CellName
from controller.model.offer import Demand, Offer

log = structlog.get_logger()
# One answer of a cloud: longer than its own slowest retry, shorter than a kubelet's patience.
LAUNCH_SECONDS = 120.0
CONSOLE_SECONDS = 10.0
# Offers are refused one call at a time at worst; a catalogue has a few thousand, a person less patience.
MOST_TRIES = 30
# Faults after which nothing was launched, whatever is tried; all others leave the outcome open.
FINAL = frozenset({Kind.DENIED, Kind.INVALID, Kind.UNSUPPORTED, Kind.EXISTS})


@dataclass(frozen=True, slots=True)
class LaunchFacts:
    """What user-data and tags say of home; asked at each launch, since ports may be chosen late."""

    cluster: str
    controllers: Callable[[], tuple[str, ...]]
    fingerprint: Callable[[], str]
    agents: Callable[[], Mapping[str, str]]


class Executor:
    """The hands of the fleet."""

    def __init__(
        self,
        book: CellStore,
        cloud: Cloud,
        home: LaunchFacts,
        secret: bytes,
        clock: Callable[[], float],
        fence: Callable[[], None],
    ) -> None:
        self._book = book
        self._cloud = cloud
        self._home = home
        self._secret = secret
        self._clock = clock
        self.fence = fence
        """Raises Fault where another controller may lead by now: asked last before the cloud is told to do anything."""
        self._offered: tuple[Offer, ...] = ()
        self._catalogue = Catalogue(())
        self.unavailable = Unavailable()
        self._refusal = ""
        self.faults: dict[CellName, Fault] = {}
        """Why cells could not be had, for those who wait for them."""
        self.refusals: Counter[str] = Counter()
        """How often offers or whole launches were refused, by the cloud's code or else the kind of fault."""

    async def do(self, action: plan.Recorded) -> None:
        """Carry out one action. Raises Fault where later may do."""
        match action:
            case plan.Launch(cell):
                await self._launch(cell)
            case plan.Adopt(cell, instance):
                log.info("adopted an instance whose launch was cut off", cell=cell, instance=instance.id)
                await self._launched(cell, instance)
            case plan.Lose(cell, reason):
                reason = await self._with_console(cell, reason)
                log.warning("cell lost", cell=cell, reason=reason)
                await self._book.change(cell, transitions.Lost(reason))
            case plan.Retire(cell, reason):
                log.info("cell retired", cell=cell, reason=reason)
                await self._book.change(cell, transitions.Retired(reason))
            case plan.Release(cell, reason):
                log.info("cell retired", cell=cell, reason=reason)
                await self._book.change(cell, transitions.Released(reason))
            case plan.End(cell):
                await self._end(cell)
            case plan.Forget(cell):
                await self._book.forget(cell)
                self.faults.pop(cell, None)

    async def _with_console(self, name: CellName, reason: str) -> str:
        """The reason, and what the instance last said of itself if it never joined: why, perhaps only it knows."""
        cell = self._book.get(name)
        if cell is None or cell.instance is None or cell.state is not CellState.BOOTING:
            return reason
        try:
            async with asyncio.timeout(CONSOLE_SECONDS):
                said = await self._cloud.console(cell.instance)
        except (Fault, TimeoutError) as error:
            log.info("no console of a lost cell", cell=name, cause=str(error))
            return reason
        return f"{reason}; its console ends: {said}" if said else reason

    def estimate(self, demand: Demand, required: requirements.Requirements) -> float:
        """USD per hour of the cheapest offer that fits, among those that were known at the last launch."""
        found = rank.rank(demand, required, self._catalogue, self.unavailable, self._clock(), most=1).ranked
        return found[0].usd_per_hour if found else 0.0

    async def offers(self) -> Catalogue:
        """All that can be bought, laid out for ranking; made anew only when the cloud's offers change."""
        offers = await self._cloud.offers()
        if offers is not self._offered:
            self._offered, self._catalogue = offers, Catalogue(offers)
        return self._catalogue

    async def buyable(self) -> tuple[Catalogue, Unavailable]:
        """All that can be bought, and what was refused of late."""
        return await self.offers(), self.unavailable

    def taken(self, offer: Offer) -> None:
        """An instance of this offer is taken back: there is none to be had, its successor is looked for elsewhere."""
        self.unavailable = marked(self.unavailable, (offer.shape.type, offer.zone, offer.launch_type), self._clock())

    async def _end(self, name: CellName) -> None:
        cell = self._book.get(name)
        if cell is not None and cell.announced is not None:
            log.warning("the instance will be taken; its pod is told to end", cell=name, reason=cell.announced.message)
            ending = msgspec.structs.replace(cell.announced, ending_since=self._clock())
            await self._book.change(name, transitions.Announced(ending))

    async def _launch(self, name: CellName) -> None:
        for _ in range(MOST_TRIES):
            cell = self._book.get(name)
            if cell is None or cell.state not in {CellState.REQUESTED, CellState.LAUNCHING}:
                return
            try:
                required = await self._required(cell)
                offers = await self._offers_for(cell, required)
            except Fault as fault:
                if fault.kind is Kind.UNAVAILABLE:
                    raise  # the cloud could not be asked
                await self._give_up(cell, fault)
                return
            if cell.state is CellState.REQUESTED:
                cell = await self._announce(cell)
            outcome = await self._ask(cell, offers, required)
            self.refusals.update(launch_parameters.codes(outcome))
            if outcome.unfulfilled or (outcome.fault is not None and outcome.fault.kind is Kind.NO_CAPACITY):
                self._refusal = str(outcome.fault or self._refusal)
                self.unavailable = launch_parameters.refused(
                    self.unavailable, outcome.unfulfilled, offers, self._clock()
                )
            if outcome.instance is not None:
                await self._launched(name, outcome.instance)
                return
            await self._refused(cell, outcome)

    async def _required(self, cell: Cell) -> requirements.Requirements:
        """What is required of the cell's instance; a reservation knows best. Raises Fault."""
        said = launch_parameters.required(cell)
        required = requirements.read(said)
        reserved = await self._cloud.reserved(said)
        return required if reserved is None else requirements.within(required, reserved.type, reserved.zone)

    async def _offers_for(self, cell: Cell, required: requirements.Requirements) -> tuple[Offer, ...]:
        catalogue = await self.offers()
        now = self._clock()
        # A launch that is repeated may have succeeded: it must be asked for, whatever was refused to others since.
        unavailable = self.unavailable if cell.state is CellState.REQUESTED else Unavailable()
        found = rank.rank(cell.demand, required, catalogue, unavailable, now).offers
        if not found:
            raise _with(self._refusal, rank.nothing_fits(cell.demand, required, catalogue, unavailable, now))
        return found

    async def _sold_to(self, name: CellName) -> tuple[Offer, ...]:
        """The offers at the prices that hold for a cell."""
        cell = self._book.get(name)
        catalogue = await self.offers()
        return (
            catalogue.of(requirements.read(launch_parameters.required(cell))) if cell is not None else catalogue
        ).offers

    async def _announce(self, cell: Cell) -> Cell:
        """Write down that the cloud is about to be asked."""
        token = launch_parameters.client_token(cell, self._clock())
        hashed = token_hash(launch_parameters.join_token(self._secret, token))
        return await self._book.change(cell.name, transitions.Launching(client_token=token, join_token_hash=hashed))

    async def _ask(self, cell: Cell, offers: tuple[Offer, ...], required: requirements.Requirements) -> LaunchOutcome:
        facts = UserData(
            controllers=self._home.controllers(),
            ca=self._home.fingerprint(),
            token=launch_parameters.join_token(self._secret, cell.client_token),
            agents=dict(self._home.agents()) or UNSET,
        )
        self.fence()
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                return await self._cloud.launch(
                    launch_parameters.request(cell, offers, required, facts, self._home.cluster)
                )
        except TimeoutError as error:
            self.refusals[Kind.TIMEOUT.value] += 1
            cause = f"the cloud has not answered within {LAUNCH_SECONDS:.0f} s"
            raise Fault(Kind.TIMEOUT, f"launch of cell {cell.name}", cause, "it is asked again") from error

    async def _refused(self, cell: Cell, outcome: LaunchOutcome) -> None:
        """Nothing was launched: give the token back where that is certain, else leave it and ask again later."""
        why = outcome.fault or Fault(Kind.BROKEN, "launch", "the cloud gave no reason")
        if why.kind is Kind.NO_CAPACITY:
            await self._book.change(cell.name, transitions.LaunchRefused(str(why)))
            return
        fault = Fault(why.kind, f"launch of cell {cell.name}", str(why))
        if why.kind not in FINAL:
            raise fault
        await self._give_up(await self._book.change(cell.name, transitions.LaunchRefused(str(why))), fault)

    async def _launched(self, name: CellName, instance: Instance) -> None:
        offer = launch_parameters.offer_of(instance, await self._sold_to(name))
        event = transitions.Launched(
            instance=instance.id,
            offer=offer,
            address=instance.address,
            pod_address=instance.pod_address,
            pod_address6=instance.pod_address6,
        )
        cell = await self._book.change(name, event)
        log.info("instance launched", cell=name, instance=instance.id, type=instance.type, state=cell.state.value)

    async def _give_up(self, cell: Cell, fault: Fault) -> None:
        """The cell cannot be had; those who wait are told why."""
        self.faults[cell.name] = fault
        if cell.state in transitions.LIVE:
            log.warning("no instance can be had", cell=cell.name, cause=str(fault))
            await self._book.change(cell.name, transitions.Lost(str(fault)))


def _with(refusal: str, fault: Fault) -> Fault:
    """A fault that all offers were refused lately, with the cloud's last words: a limit is mended otherwise than a want
    of capacity.
    """
    if not refusal or fault.reason != "InsufficientCapacity":
        return fault
    return Fault(fault.kind, fault.thing, f"{fault.cause}, at last with: {refusal}", fault.mend, reason=fault.reason)
