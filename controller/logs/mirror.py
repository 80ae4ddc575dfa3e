"""Copies a container's log from its cell into a file here: every byte, once, in order.

The file itself says how far the copy is: its size, after the position of its first byte, which stands in a small note
beside it. So the copy goes on where it was after a lost connection, a restart of the controller, or a rotation by a
kubelet that moved the file away. What is written is never parsed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import settled

log = structlog.get_logger()
Connect = Callable[[], Awaitable[Channel]]
# After a connection that broke; the next try waits for the cell to be connected anyway.
PAUSE = 0.2


class Note(msgspec.Struct, frozen=True):
    """Where the file with this inode begins in the container's whole log."""

    base: int
    inode: int


class Copy:
    """One container's log on its way here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._note = path.with_name(f".{path.name}.begins")
        self._reopen = False
        self._file = -1
        self.offset = 0

    def open(self) -> None:
        """Find out how far the copy is, and open the file to go on."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.offset = self._reached()
        self._switch()

    def reopen(self) -> None:
        """The file was moved away: from the next whole line on, write to a new one."""
        self._reopen = True

    def write(self, data: bytes) -> None:
        """Append bytes that begin at `offset`."""
        if self._reopen:
            cut = data.find(b"\n") + 1
            if cut or not self._in_line():
                self._append(data[:cut])
                data = data[cut:]
                self._switch()
        self._append(data)

    def finish(self) -> None:
        """All is here: make it durable."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.offset += len(data)

    def _in_line(self) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _switch(self) -> None:
        self.close()
        self._reopen = False
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        found = os.fstat(self._file)
        note = Note(self.offset - found.st_size, found.st_ino)
        temporary = self._note.with_suffix(".new")
        temporary.write_bytes(msgspec.msgpack.encode(note))
        temporary.replace(self._note)

    def _reached(self) -> int:
        try:
            note = msgspec.msgpack.decode(self._note.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            # Nothing of ours was ever written: what is there is somebody else's, and is written after.
            return 0
        # The noted file may have been moved away by a rotation while nobody copied.
        for path in [self._path, *self._path.parent.glob(f"{self._path.name}*")]:
            if path.exists() and path.stat().st_ino == note.inode:
                return note.base + path.stat().st_size
        return note.base


class Mirror:
    """All copies under way."""

    def __init__(self) -> None:
        self._copies: dict[str, Copy] = {}

    async def copy(self, channel: Connect, container_id: str, path: Path, *, follow: bool) -> None:
        """Copy until the log is complete here. Raises Fault where the cell is lost, or the disk refuses.

        `channel` waits for the cell to be connected and raises Fault once it never will be.
        """
        copy = Copy(path)
        self._copies[container_id] = copy
        try:
            copy.open()
            while not await self._once(await channel(), container_id, copy, follow=follow):
                await asyncio.sleep(PAUSE)
            copy.finish()
        except OSError as error:
            raise Fault(Kind.BROKEN, f"log {path}", str(error), "make room on this disk") from error
        finally:
            copy.close()
            if self._copies.get(container_id) is copy:
                del self._copies[container_id]

    def reopen(self, container_id: str) -> None:
        """A kubelet has moved the container's file away; what comes goes to a new one."""
        copy = self._copies.get(container_id)
        if copy is not None:
            copy.reopen()

    async def _once(self, channel: Channel, container_id: str, copy: Copy, *, follow: bool) -> bool:
        request = wire.LogsRequest(container_id=container_id, offset=copy.offset, follow=follow)
        try:
            with settled():
                async with cell_grpc.CellStub(channel).Logs.open() as stream:
                    await stream.send_message(request, end=True)
                    async for chunk in stream:
                        if chunk.data:
                            # Bytes that were asked for twice are dropped; a gap must never be written over.
                            if chunk.offset > copy.offset:
                                cause = f"the cell sent byte {chunk.offset} where {copy.offset} was due"
                                raise Fault(Kind.BROKEN, f"log of container {container_id}", cause)
                            copy.write(chunk.data[copy.offset - chunk.offset :])
                        if chunk.end:
                            return True
        except Fault as fault:
            if fault.kind is Kind.NOT_FOUND:
                log.warning("a log ended with its container", container=container_id, cause=str(fault))
                return True
            if fault.kind not in {Kind.UNAVAILABLE, Kind.TIMEOUT}:
                raise
        return not follow
