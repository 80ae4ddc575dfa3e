"""Copies of logs made durable as they grow; then has the cell give its own bytes away: a cell's disk is small."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.logs.copy import Copy

log = structlog.get_logger()
Connect = Callable[[], Awaitable[Channel]]
Grown = Callable[[], Awaitable[None]]

# What somebody will mend by making room. Any other refusal of a disk is no reason to hope.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PAUSE = 5.0
# A cell writes the bytes out before it frees them, which a slow disk does in seconds.
DEADLINE = 10.0
# A log that has ended is given back whole, unless it is so small that the call costs more than the space is worth.
WORTH_A_CALL = 64 << 10


async def keep(channel: Connect, container_id: str, copy: Copy, grown: Grown) -> None:
    """Until cancelled: whenever it is due, make durable what is here, tell the cell and whoever looks after the file
    (`grown`). Raises Fault BROKEN where the disk has lost what was written to it.
    """
    while True:
        await copy.due.wait()
        try:
            await make_durable(copy)
        except Fault as fault:
            if fault.kind is not Kind.NO_CAPACITY:
                raise
            await asyncio.sleep(PAUSE)
            continue
        with suppress(Fault):  # the copy itself is told by whom it gets its bytes that its cell is lost
            await trim(await channel(), container_id, copy)
        await grown()


async def make_durable(copy: Copy) -> None:
    """All that is here now outlives a loss of power. Raises Fault: NO_CAPACITY where there is no room, else BROKEN."""
    try:
        async with copy.syncs:
            with copy.syncing() as files:
                await asyncio.to_thread(_sync, tuple(files))
    except OSError as error:
        raise refused(copy.path, error) from error


async def trim(channel: Channel, container_id: str, copy: Copy) -> None:
    """Have the cell give back what is durable here. Where it does not, as an agent of before that does not know how,
    its disk holds more for longer, no worse.
    """
    request = wire.TrimLogRequest(container_id=container_id, offset=copy.durable)
    try:
        await call(cell_grpc.CellStub(channel).TrimLog, request, deadline=DEADLINE)
    except Fault as fault:
        log.info("a cell keeps the log that is copied", container=container_id, cause=str(fault))


def refused(path: Path, error: OSError) -> Fault:
    """What the disk of a copy says, NO_CAPACITY where it is full and BROKEN otherwise."""
    kind = Kind.NO_CAPACITY if error.errno in FULL else Kind.BROKEN
    return Fault(kind, f"log {path}", error.strerror or str(error), "make room on this disk, or mend it")


def _sync(files: tuple[int, ...]) -> None:
    for file in files:
        os.fsync(file)
