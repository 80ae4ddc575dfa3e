"""Lets the instance of a cell join, once and with one key.

What the link asks of the fleet; the checks themselves are the link's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.proxies import DIRECT, Proxies
from controller.fleet.cell_store import CellStore
from controller.fleet.registry_facts import RegistryFacts
from controller.link.join_checks import JOINING, Admitted, check, check_renewal, token_hash
from controller.model.cell import Cell
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from controller.model.transitions import InstanceJoined, InvalidStep

# A small instance can ask to join before the answer to its launch is written down.
PATIENCE = 15.0


class Admittance:
    """See `controller.link.join_checks.Admission`."""

    def __init__(
        self,
        book: CellStore,
        registries: Sequence[RegistryFacts],
        heartbeat: float,
        clock: Callable[[], float],
        proxies: Proxies = DIRECT,
        homeless: float = 0.0,
        boot: float = 0.0,
    ) -> None:
        self._book = book
        self._registries = registries
        self._proxies = proxies
        self._heartbeat = heartbeat
        self._homeless = homeless
        self._boot = boot
        self._clock = clock

    async def admit(self, token: str, key: str, identity: Identity) -> Admitted:
        """The cell of this instance, now joined. Raises Fault DENIED, or UNAVAILABLE where asking again will help."""
        with self._refusing():
            return await self._joined(token, key, identity)

    async def _joined(self, token: str, key: str, identity: Identity) -> Admitted:
        cell = check(await self._cell_of(token, identity), token, key, identity, self._clock(), self._boot)
        if cell.address and identity.address and cell.address != identity.address:
            cause = f"its address is {identity.address}, it was launched with {cell.address}"
            raise Fault(Kind.DENIED, f"join of instance {identity.instance}", cause, reason="WrongAddress")
        try:
            if cell.state in JOINING:
                cell = await self._book.change(cell.name, InstanceJoined(key))
        except InvalidStep as error:
            cause = f"its cell is {error.state.value}: an instance joins once"
            raise Fault(Kind.DENIED, f"join of instance {identity.instance}", cause, reason="JoinedBefore") from error
        return Admitted(cell.name, self._settings(cell))

    def familiar(self, address: str) -> bool:
        """See `controller.link.join_checks.Admission`."""
        return self._book.at(address)

    def renewable(self, cell: CellName, instance: InstanceId) -> None:
        """See `controller.link.join_checks.Admission`. Raises Fault DENIED."""
        with self._refusing():
            check_renewal(self._book.get(cell), cell, instance)

    @contextmanager
    def _refusing(self) -> Generator[None]:
        """Refuse only where we lead: an instance ends by it, and another controller may know its cell by now."""
        try:
            yield
        except Fault as fault:
            if fault.kind is Kind.DENIED:
                self._book.check_lead()
            raise

    async def _cell_of(self, token: str, identity: Identity) -> Cell | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._book.launched_on(identity.instance, token_hash(token))
        except TimeoutError as error:
            cause = "the answer to its launch is not written down yet"
            raise Fault(Kind.UNAVAILABLE, f"join of instance {identity.instance}", cause, "ask again") from error

    def _settings(self, cell: Cell) -> wire.CellSettings:
        return wire.CellSettings(
            registries=[each.message for each in self._registries],
            proxies=wire.Proxies(http=self._proxies.http, https=self._proxies.https, exempt=self._proxies.exempt),
            heartbeat_interval_ms=int(self._heartbeat * 1000),
            homeless_seconds=int(self._homeless),
            pod_address=f"{cell.pod_address}/32" if cell.pod_address else "",
            pod_address6=f"{cell.pod_address6}/128" if cell.pod_address6 else "",
        )
