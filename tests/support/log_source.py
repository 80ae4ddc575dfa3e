"""A cell with one log, behind a real gRPC connection that breaks off as a test tells it to."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import prepared

LOG = b"".join(b"2026-11-20T10:00:00Z stdout F line %d\n" % n for n in range(4000))


class Source(cell_grpc.CellBase):
    """A cell with one log, that breaks off as it is told to."""

    def __init__(self, log: bytes) -> None:
        self.log = log
        self.dice = random.Random(0)
        self.cuts = 0
        self.asked: list[int] = []
        self.fault: Fault | None = None
        self.gap = 0
        self.trims: list[int] = []
        self.first = 0  # the bytes before it are given back
        self.trim_fault: Fault | None = None
        self.chunks: list[wire.LogChunk] = []  # said in place of the log

    async def Logs(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.asked.append(request.offset)
        if self.fault:
            raise self.fault
        for chunk in self.chunks:
            await stream.send_message(chunk)
        if self.chunks:
            return
        # A cell may begin at a block of its own, before what was asked for.
        position = max(0, request.offset - self.dice.choice([0, 0, 7])) + self.gap
        if request.offset < self.first:
            position = self.first
            await stream.send_message(wire.LogChunk(offset=position, gone=position - request.offset))
        while position < len(self.log):
            data = self.log[position : position + self.dice.randint(1, 4000)]
            await stream.send_message(wire.LogChunk(offset=position, data=data))
            position += len(data)
            if self.cuts and self.dice.random() < 0.2:
                self.cuts -= 1
                if self.dice.random() < 0.3:
                    return  # a cell that stops in an orderly way
                stream._stream._transport.abort()
                return
        await stream.send_message(wire.LogChunk(offset=position, end=True))

    async def TrimLog(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.trims.append(request.offset)
        if self.trim_fault:
            raise self.trim_fault
        await stream.send_message(wire.TrimLogReply())

    async def Report(self, stream: Any) -> None: ...
    async def ReadFile(self, stream: Any) -> None: ...

    async def DiskUsage(self, stream: Any) -> None: ...

    async def MountFolder(self, stream: Any) -> None: ...
    async def Exec(self, stream: Any) -> None: ...
    async def Attach(self, stream: Any) -> None: ...
    async def PortForward(self, stream: Any) -> None: ...
    async def MakeContainer(self, stream: Any) -> None: ...
    async def PutFiles(self, stream: Any) -> None: ...
    async def Services(self, stream: Any) -> None: ...
    async def DialWorker(self, stream: Any) -> None: ...


class ReachableCell:
    """The way to it, as the fleet gives it."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.channel = MendedChannel(CELL, path=str(path))
        self.lost = False
        self.dialled = 0

    async def connect(self) -> MendedChannel:
        self.dialled += 1
        if self.lost:
            raise Fault(Kind.UNAVAILABLE, "cell c-1", "it is lost", reason="CellLost")
        return self.channel


@asynccontextmanager
async def running_source(socket: Path) -> AsyncGenerator[ReachableCell]:
    """A cell with LOG."""
    source = Source(LOG)
    server = prepared([source], details=True)
    await server.start(path=str(socket))
    made = ReachableCell(source, socket)
    yield made
    made.channel.close()
    server.close()
    await server.wait_closed()
