"""The port that this worker's cells dial: whoever shows the certificate of a cell that we have claimed is let in."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from cellwire.rpc.door import accepting
from cellwire.rpc.reverse import TURNED, TurnedChannel, common_name
from controller.link.channels import Channels
from controller.link.distrust import Distrust
from controller.model.names import CellName

log = structlog.get_logger()
PROTOCOLS = (TURNED,)


class CellPort:
    """The cells that are connected to this worker. `known` tells whether a cell is ours, `familiar` whether one lives
    at an address; `told` hears of each that has come or gone.
    """

    def __init__(
        self,
        known: Callable[[CellName], bool],
        familiar: Callable[[str], bool],
        told: Callable[[CellName], None],
    ) -> None:
        self.familiar = familiar
        self._known = known
        self._told = told
        self._distrust = Distrust()
        self.channels = Channels()

    def accept(self, channel: TurnedChannel) -> None:
        """A cell has dialled, and TLS has checked its certificate."""
        cell = CellName(common_name(channel.certificate))
        if not self._known(cell) or self._distrust.keeps_out(cell, time.monotonic()):
            channel.close()
            return
        self.channels.put(cell, channel)
        channel.on_lost(lambda: self._lost(cell, channel))
        log.info("cell connected", cell=cell, address=channel.address)
        self._told(cell)

    def _lost(self, cell: CellName, channel: TurnedChannel) -> None:
        if channel.untrue:
            seconds = self._distrust.lied(cell, time.monotonic())
            log.warning("a cell is not believed", cell=cell, cause=channel.untrue, kept_out=seconds)
        if self.channels.remove(cell, channel):
            log.info("cell disconnected", cell=cell)
            self._told(cell)


@asynccontextmanager
async def opened(port: CellPort, host: str, number: int, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """The port, open for as long as the context lives; its number. Raises Fault UNAVAILABLE where it cannot listen."""
    async with accepting(
        (host, number),
        context,
        servers={},
        turned=port.accept,
        authority=b"",
        familiar=port.familiar,
        mend="choose another remote.host or remote.port",
    ) as listening:
        try:
            yield listening.number
        finally:
            port.channels.close()
            await asyncio.sleep(0)  # who waits on those connections is told
