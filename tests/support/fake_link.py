"""The link, as far as the fleet sees it, with cells that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from controller.link import report_checks
from controller.link.port import ChangeKind, ConnectionChange
from controller.model.names import CellName, InstanceId


class FakeAuthority:
    fingerprint = "sha256:" + "0" * 64


class FakeLink:
    """See `controller.fleet.room.CellConnections`."""

    controllers = ("10.0.0.1:7443",)

    def __init__(self) -> None:
        self.authority = FakeAuthority()
        self.agents: Mapping[str, str] = {}
        self.channels: dict[CellName, Channel] = {}
        self.queue: asyncio.Queue[ConnectionChange] = asyncio.Queue()

    def channel(self, cell: CellName) -> Channel:
        if cell not in self.channels:
            raise Fault(Kind.UNREACHABLE, f"cell {cell}", "it is not connected now")
        return self.channels[cell]

    def disconnect(self, cell: CellName) -> None:
        if self.channels.pop(cell, None) is not None:
            self.queue.put_nowait(ConnectionChange(cell, ChangeKind.DISCONNECTED))

    async def changes(self) -> AsyncIterator[ConnectionChange]:
        while True:
            yield await self.queue.get()

    def connect(self, cell: CellName, instance: str = "", **moments: float) -> None:
        self.channels[cell] = MendedChannel(CELL, host="127.0.0.1", port=1)
        self.queue.put_nowait(ConnectionChange(cell, ChangeKind.CONNECTED, instance=InstanceId(instance)))
        self.queue.put_nowait(ConnectionChange(cell, ChangeKind.REPORTED, report_checks.Hello(moments=moments)))

    def heartbeat(self, cell: CellName) -> None:
        self.queue.put_nowait(ConnectionChange(cell, ChangeKind.REPORTED, report_checks.Heartbeat()))

    def event(self, cell: CellName, reason: str, at: float) -> None:
        self.queue.put_nowait(
            ConnectionChange(cell, ChangeKind.REPORTED, report_checks.Happened(at=at, reason=reason, message=""))
        )
