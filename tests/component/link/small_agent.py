"""An agent with nothing but boot and link: it joins and stays at home, where a double of a cell answers for it.

The double is held to the real agent by the contract of a cell, here as well as on a socket. Can be a process.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from cellagent.boot.identity import CellIdentity
from cellagent.boot.join import join_for_ever
from cellagent.boot.metadata_client import Metadata
from cellagent.link.heartbeat import hello
from cellagent.link.home import stay
from cellagent.link.redialling import RedialWindow
from cellagent.link.reporting import Reporting
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.serve import prepared
from tests.support.cells_double import services
from tests.support.cri_double import CellDouble


class Small:
    """A double of a cell that reports as an agent does."""

    def __init__(self, cell: str, moments: dict[str, float], double: CellDouble) -> None:
        self.cell = cell
        self.moments = moments
        self.double = double
        self.events: asyncio.Queue[wire.CellEvent] = asyncio.Queue()
        self.window = RedialWindow()

    def server(self) -> MendedServer:
        """What it serves at home."""

        async def report(_: Any, stream: Any) -> None:
            said = partial(hello, self.cell, "0", self.moments, "none")
            await Reporting(said, 0.1, lambda: 0, self.events, self.window).serve(stream)

        return prepared(services(self.double, Report=report), details=True)

    async def MountFolder(self, stream: Any) -> None: ...


@asynccontextmanager
async def small(cell: str, moments: dict[str, float]) -> AsyncGenerator[Small]:
    """One whose containers end with it."""
    go = asyncio.Event()
    go.set()
    async with asyncio.TaskGroup() as tasks:
        double = CellDouble(tasks, go, go)
        try:
            yield Small(cell, moments, double)
        finally:
            double.kill_all()


async def live(state: Path, metadata: Metadata, started: float) -> None:
    identity = CellIdentity(state)
    moments = {"agent": started, "loaded": time.time()}
    home = identity.home() or await join_for_ever(identity, metadata)
    moments["joined"] = time.time()

    def connected() -> None:
        moments.setdefault("connected", time.time())

    async with small(home.cell, moments) as agent:
        await stay(agent.server(), identity, home, connected, agent.window)


if __name__ == "__main__":
    uvloop.run(live(Path(sys.argv[1]), Metadata("127.0.0.1", int(sys.argv[2])), float(sys.argv[3])))
