"""How a call on a cell is made: waited for, made again where the connection was lost, its answer checked at the gate.

A cell that says what no honest agent would loses its connection; it may dial again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.rpc.call import UnaryMethod, call
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.transitions import LIVE
from controller.sandboxes.gate import gate

# The kubelet's own: what makes namespaces and processes may take this long on a busy cell.
QUICK = 120.0
# For who must answer a kubelet, in its 2 minutes: longer than a cell's pause between two tries to dial.
PATIENCE = 20.0
PAUSE = 0.3

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Value = TypeVar("Value")


class Reached(Protocol):
    """A way to cells: the fleet, as a rule (`controller.fleet.cells.Cells`)."""

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        ...

    async def connected(self, name: CellName) -> Channel:
        """The channel to a cell, waited for. Raises Fault UNAVAILABLE once it is lost or gone."""
        ...


def is_over(cell: Cell | None) -> bool:
    """Whether nothing can be had of a cell any more."""
    return cell is None or cell.state not in LIVE


class Newcomer:
    """The way to a cell that nobody knows yet."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def get(self, name: CellName) -> Cell | None:
        """Nothing is known of it."""
        del name

    async def connected(self, name: CellName) -> Channel:
        """The connection on which it came."""
        del name
        return self._channel


class CellCalls:
    """The way to one cell. `patience` is how long, in seconds, a call waits for the cell to be connected, and then it
    is made once; without it a call waits as long as the cell may come back, and is made again when a lost connection
    has ended it.
    """

    def __init__(self, cells: Reached, name: CellName, *, patience: float | None = None) -> None:
        self.name = name
        self._cells = cells
        self._patience = patience

    async def connect(self) -> Channel:
        """The connection, once there is one. Raises Fault: UNAVAILABLE if it is over, else UNREACHABLE."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._cells.connected(self.name)
        except TimeoutError as error:
            cause = f"it has not been connected for {self._patience:g} s"
            raise Fault(Kind.UNREACHABLE, f"cell {self.name}", cause, "it redials by itself; ask again") from error

    def _recorded(self) -> frozenset[str]:
        """The addresses that the cloud has told of the cell; none where it has told no pod's."""
        cell = self._cells.get(self.name)
        if cell is None or not cell.pod_address:
            return frozenset()
        return frozenset(filter(None, (cell.pod_address, cell.pod_address6, cell.address)))

    async def _do(
        self, method: Callable[[Channel], UnaryMethod[Request, Reply]], request: Request, deadline: float = QUICK
    ) -> None:
        """A call whose answer says nothing."""
        await self._ask(method, request, lambda _: None, deadline)

    async def _ask(
        self,
        method: Callable[[Channel], UnaryMethod[Request, Reply]],
        request: Request,
        check: Callable[[Reply], Value],
        deadline: float = QUICK,
    ) -> Value:
        while True:
            channel = await self.connect()
            try:
                reply = await call(method(channel), request, deadline=deadline)
            except Fault as fault:
                if fault.kind is not Kind.UNREACHABLE or self._patience is not None:
                    raise
            else:
                with gate(channel, self.name):
                    return check(reply)
            await asyncio.sleep(PAUSE)
