"""An agent with nothing but boot and link: joins, stays at home, and answers what the tests ask. Can be a process."""

import asyncio
import resource
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from cellagent.boot.identity import CellIdentity
from cellagent.boot.join import join_for_ever
from cellagent.boot.metadata import Metadata
from cellagent.link.heartbeat import beats, hello
from cellagent.link.home import stay
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.serve import prepared

CHUNK = bytes(64 << 10)


class Small(cell_grpc.CellBase):
    """A cell that runs nothing."""

    def __init__(self, cell: str, moments: dict[str, float]) -> None:
        self.cell = cell
        self.moments = moments
        self.events: asyncio.Queue[wire.CellEvent] = asyncio.Queue()

    async def Report(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(wire.ReportMessage(hello=hello(self.cell, "0", self.moments, "none")))
        async for message in beats(0.1, lambda: 0, self.events):
            await stream.send_message(message)

    async def Logs(self, stream: Any) -> None:
        """As many bytes of zeros as the offset says, in chunks of 64 KiB."""
        request = await stream.recv_message()
        left = request.offset
        while left > 0:
            await stream.send_message(wire.LogChunk(data=CHUNK[:left]))
            left -= len(CHUNK)

    async def ReadFile(self, stream: Any) -> None:
        request = await stream.recv_message()
        match request.path:
            case "hang":
                await asyncio.sleep(3600)
            case "refuse":
                raise Fault(Kind.NOT_FOUND, "file refuse", "it is not there", reason="Gone")
            case "rss":
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                text = str(pages * resource.getpagesize())
                await stream.send_message(wire.ReadFileReply(data=text.encode()))
            case path:
                await stream.send_message(wire.ReadFileReply(data=path.encode()))

    async def Exec(self, stream: Any) -> None: ...
    async def Attach(self, stream: Any) -> None: ...
    async def PortForward(self, stream: Any) -> None: ...
    async def PutFiles(self, stream: Any) -> None: ...
    async def Services(self, stream: Any) -> None: ...
    async def TrimLog(self, stream: Any) -> None: ...

    async def DiskUsage(self, stream: Any) -> None: ...


def serving(cell: Small) -> MendedServer:
    return prepared([cell], details=True)


async def live(state: Path, metadata: Metadata, started: float) -> None:
    identity = CellIdentity(state)
    moments = {"agent": started, "loaded": time.time()}
    home = identity.home() or await join_for_ever(identity, metadata)
    moments["joined"] = time.time()
    cell = Small(home.cell, moments)

    def connected() -> None:
        moments.setdefault("connected", time.time())

    await stay(serving(cell), identity, home, connected)


if __name__ == "__main__":
    uvloop.run(live(Path(sys.argv[1]), Metadata("127.0.0.1", int(sys.argv[2])), float(sys.argv[3])))
