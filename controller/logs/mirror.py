"""Copies a container's log from its cell into a file here: every byte, once, in order.

What is written is never parsed. The position is the file's (`copy`), so the copy goes on where it was after a lost
connection, a restart of the controller or a rotation. It is complete when the cell has said so, and then durable.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from controller.logs.copy import MOST_BYTES, Copy
from controller.logs.lines import missing

log = structlog.get_logger()

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
# Tries in a row that bring no byte, on a cell that is connected, before the copy is given up: some three minutes.
TRIES = 40
PASSING = frozenset({Kind.UNAVAILABLE, Kind.UNREACHABLE, Kind.TIMEOUT, Kind.NO_CAPACITY})
# A line is written for each gap. A cell gives bytes away only when told to, so a stream has one, and few more where
# files are renamed meanwhile.
MOST_GAPS = 16
# Messages in a row that are taken from what has arrived before anybody else has a turn.
TURN = 64
Connect = Callable[[], Awaitable[Channel]]
Grown = Callable[[], Awaitable[None]]
# What somebody will mend by making room. Any other refusal of a disk is no reason to hope.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_PAUSE = 5.0
# A cell writes the bytes out before it frees them, which a slow disk does in seconds.
TRIM_DEADLINE = 10.0
# A log that has ended is given back whole, unless it is so small that the call costs more than the space is worth.
WORTH_A_CALL = 64 << 10


async def _nothing() -> None:
    pass


class Mirror:
    """All copies under way."""

    def __init__(self) -> None:
        self._copies: dict[str, Copy] = {}
        self._parted: dict[str, float] = {}
        self._hindered: dict[str, tuple[int, Fault]] = {}

    @property
    def under_way(self) -> int:
        """How many logs are being copied."""
        return len(self._copies)

    def lag(self) -> float:
        """For how long, in seconds, the one that waits longest for its cell has brought nothing; 0 where none waits.

        A cell says what its log holds by sending it: how many bytes are still there, nobody here knows.
        """
        return max((time.monotonic() - since for since in self._parted.values()), default=0.0)

    def hindrance(self, container_id: str) -> str:
        """Why the last try to bring bytes of a log brought none; "" where nothing has gone wrong since some came."""
        copy, known = self._copies.get(container_id), self._hindered.get(container_id)
        return str(known[1]) if copy is not None and known is not None and known[0] == copy.offset else ""

    async def copy(
        self, channel: Connect, container_id: str, path: Path, *, follow: bool, grown: Grown = _nothing
    ) -> None:
        """Copy until the log is complete here; without `follow`, until all that there is now is here.

        `grown` is called whenever the file has become much longer (`copy.DUE_BYTES`).

        `channel` waits for the cell to be connected and raises Fault once it never will be. Raises that, or Fault
        BROKEN where the disk refuses or the cell leaves a gap, UNAVAILABLE where a connected cell brings nothing.
        A full disk is waited for: the bytes are on the cell, and nowhere else.
        """
        copy = Copy(path, container_id)
        self._copies[container_id] = copy
        try:
            with suppress(OSError):  # it is met again, and then dealt with; meanwhile readers find a file
                copy.open()
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(
                    keep(channel, container_id, copy, grown), name=f"durable log of {container_id}"
                )
                await self._all(channel, container_id, copy, follow=follow)
                keeping.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            copy.close()
            if self._copies.get(container_id) is copy:
                del self._copies[container_id]
                self._parted.pop(container_id, None)
                self._hindered.pop(container_id, None)

    def reopen(self, container_id: str) -> None:
        """A kubelet has moved the container's file away; what comes goes to a new one. Raises Fault BROKEN."""
        copy = self._copies.get(container_id)
        if copy is not None:
            try:
                copy.reopen()
            except OSError as error:
                raise Fault(Kind.BROKEN, f"log of container {container_id}", str(error)) from error

    async def _all(self, channel: Connect, container_id: str, copy: Copy, *, follow: bool) -> None:
        tries, full = 0, False
        while True:
            before = copy.offset
            since = self._parted.setdefault(container_id, time.monotonic())
            connected = await channel()
            begun = time.monotonic()
            self._parted.pop(container_id, None)
            try:
                if await _visit(connected, container_id, copy, follow=follow) or not follow:
                    return
                fault = Fault(Kind.UNAVAILABLE, f"log of container {container_id}", "the cell ended it before its end")
            except Fault as error:
                if error.kind not in PASSING:
                    raise
                fault = error
            self._hindered[container_id] = (copy.offset, fault)
            came = copy.offset > before or time.monotonic() - begun > LONGEST_PAUSE
            self._parted[container_id] = time.monotonic() if came else since
            was_full, full = full, fault.kind is Kind.NO_CAPACITY
            if full and not was_full:
                log.warning("a log waits for room", container=container_id, cause=str(fault))
            tries = 0 if copy.offset > before or full != was_full else tries + 1
            if tries > TRIES and not full:
                raise fault
            await asyncio.sleep(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(tries, 10)))


async def _visit(channel: Channel, container_id: str, copy: Copy, *, follow: bool) -> bool:
    """One stream, to its end, and what came of it durable; whether that is the end of the log. Raises Fault."""
    try:
        copy.open()
    except OSError as error:
        raise refused(copy.path, error) from error
    try:
        ended = await _once(channel, container_id, copy, follow=follow)
    except Fault as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        log.warning("a log ended with its container", container=container_id, cause=str(error))
        ended = True
    await make_durable(copy)
    if ended and copy.durable >= WORTH_A_CALL:
        await trim(channel, container_id, copy)
    return ended


async def _once(channel: Channel, container_id: str, copy: Copy, *, follow: bool) -> bool:
    """One stream, to its end; whether that is the end of the log. Raises Fault."""
    request = wire.LogsRequest(container_id=container_id, offset=copy.offset, follow=follow)
    with translate_errors():
        async with cell_grpc.CellStub(channel).Logs.open() as stream:
            await stream.send_message(request, end=True)
            gaps = taken = 0
            async for chunk in stream:
                gaps += _take(chunk, container_id, copy)
                if gaps > MOST_GAPS:
                    cause = f"the cell gave up bytes of it {gaps} times in one stream"
                    raise Fault(Kind.BROKEN, f"log of container {container_id}", cause)
                if chunk.end:
                    return True
                taken += 1
                if taken % TURN == 0:
                    await asyncio.sleep(0)
    return False


def _take(chunk: wire.LogChunk, container_id: str, copy: Copy) -> bool:
    """Bytes that are here already are dropped; a gap must never be written over, and a line says where one is.

    Whether there was a gap. Raises Fault BROKEN where the cell's numbers cannot be true.
    """
    if not chunk.data and not chunk.gone:
        return False
    missed = chunk.offset - copy.offset
    if missed > chunk.gone or chunk.offset + len(chunk.data) > MOST_BYTES:
        cause = f"the cell sent byte {chunk.offset} where {copy.offset} was due"
        raise Fault(Kind.BROKEN, f"log of container {container_id}", cause)
    try:
        if missed > 0:
            log.warning("bytes of a log are missing", container=container_id, bytes=missed)
            copy.skip(chunk.offset, missing(missed, time.time_ns()))
        copy.write(chunk.data[max(-missed, 0) :])
    except OSError as error:
        raise refused(copy.path, error) from error
    return missed > 0


async def keep(channel: Connect, container_id: str, copy: Copy, grown: Grown) -> None:
    """Copies of logs made durable as they grow, and given back by their cells, whose disks are small.

    Until cancelled: whenever it is due, make durable what is here, tell the cell and whoever looks after the file
    (`grown`). Raises Fault BROKEN where the disk has lost what was written to it.
    """
    while True:
        await copy.due.wait()
        try:
            await make_durable(copy)
        except Fault as fault:
            if fault.kind is not Kind.NO_CAPACITY:
                raise
            await asyncio.sleep(FULL_PAUSE)
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
        await call(cell_grpc.CellStub(channel).TrimLog, request, deadline=TRIM_DEADLINE)
    except Fault as fault:
        log.info("a cell keeps the log that is copied", container=container_id, cause=str(fault))


def refused(path: Path, error: OSError) -> Fault:
    """What the disk of a copy says, NO_CAPACITY where it is full and BROKEN otherwise."""
    kind = Kind.NO_CAPACITY if error.errno in FULL else Kind.BROKEN
    return Fault(kind, f"log {path}", error.strerror or str(error), "make room on this disk, or mend it")


def _sync(files: tuple[int, ...]) -> None:
    for file in files:
        os.fsync(file)
