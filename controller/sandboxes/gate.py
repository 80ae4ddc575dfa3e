"""Where the gate (`told`) stands on a connection: what is untrue ends it. And the one stream that has two ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import structlog
from grpclib.client import Channel, Stream

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault
from cellwire.rpc.grpclib_patches import HeldChannel
from controller.model.names import CellName
from controller.sandboxes import told
from controller.sandboxes.told import Dialled, NameQuery, Pace, Unapplied

log = structlog.get_logger()
# A pod asks for some names a second; one that asks for more is answered as slowly. How often it asks is its own doing,
# so it is no lie of its cell: the cell is read from no faster.
QUESTIONS_EACH_SECOND, QUESTIONS_AT_ONCE = 200.0, 400.0


@contextmanager
def gate(channel: Channel, cell: CellName) -> Generator[None]:
    """What is found untrue inside ends the connection on which it was told."""
    try:
        yield
    except Fault as fault:
        log.info("a cell is not believed", cell=cell, cause=str(fault))
        if isinstance(channel, HeldChannel):
            channel.distrust(str(fault))
        else:
            channel.close()
        raise


class ServicesStream:
    """A cell is told of Services, and what it asks and says comes through the gate, at its pace."""

    def __init__(
        self, stream: Stream[wire.ServicesInput, wire.ServicesOutput], channel: Channel, cell: CellName
    ) -> None:
        self._stream = stream
        self._channel = channel
        self._cell = cell
        self._sequence = 0
        self._unconfirmed = 0
        self._sending = asyncio.Lock()

    async def tell(self, *said: wire.ServicesInput) -> None:
        """These messages, and none of another caller's between them."""
        async with self._sending:
            for one in said:
                if one.HasField("changes"):
                    self._sequence, self._unconfirmed = one.changes.sequence, self._unconfirmed + 1
                await self._stream.send_message(one)

    async def heard(self) -> AsyncIterator[NameQuery | Dialled | Unapplied]:
        """What its pod asks for and dials, and what it could not do. Raises Fault."""
        pace = Pace(QUESTIONS_EACH_SECOND, QUESTIONS_AT_ONCE, time.monotonic())
        async for output in self._stream:
            with gate(self._channel, self._cell):
                said = told.services(output, self._sequence, self._unconfirmed)
            if isinstance(said, int | Unapplied):
                self._unconfirmed -= 1
            else:
                await asyncio.sleep(pace.wait(1, time.monotonic()))
            if isinstance(said, NameQuery | Dialled | Unapplied):
                yield said
