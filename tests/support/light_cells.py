"""Many cells in one process: each joins, dials, heartbeats and redials as an agent does, by the
agent's own code and from an address of its own, and runs no pod.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import join_for_ever
from cellagent.link.heartbeat import hello
from cellagent.link.home import stay
from cellagent.link.redialling import RedialWindow
from cellagent.link.reporting import Reporting
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.limits import CELL_SERVER
from cellwire.rpc.serve import prepared
from tests.support.ec2_cells import TableMetadata
from tests.support.listing_controller import address

HERE: ContextVar[str] = ContextVar("HERE", default="127.0.0.1")
"""The address of the cell whose task this is."""
DAY = 86_400.0
STARTED_EACH_SECOND = 250.0


class _Loop(uvloop.Loop):
    """Dials from the address of the cell."""

    async def create_connection(self, *where: Any, **how: Any) -> Any:
        return await super().create_connection(*where, local_addr=(HERE.get(), 0), **how)


class _LightCell(CellBase):
    """Says that it is there, and nothing else."""

    def __init__(self, home: Home, window: RedialWindow) -> None:
        self._home = home
        self._window = window

    async def Report(self, stream: Any) -> None:
        said = partial(hello, self._home.cell, "double", {}, "none", (1000, 1024))
        every = self._home.cell_settings().heartbeat_interval_ms / 1000
        await Reporting(said, every, lambda: 0, asyncio.Queue(), self._window).serve(stream)

    async def _not_here(self, stream: Any) -> None:
        raise Fault(Kind.UNSUPPORTED, "a double of a cell", "it runs no pods")

    Logs = TrimLog = ReadFile = DiskUsage = MountFolder = Exec = Attach = PortForward = PutFiles = Services = _not_here
    DialWorker = MakeContainer = _not_here


class _SharedIdentity(CellIdentity):
    """An identity whose key and signing request are everybody's."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder / "shared")
        if not folder.joinpath(f"{name}.pem").exists():
            # It is written down at a join, by each for itself.
            self.authority = folder / f"{name}.ca.pem"
        self.certificate = folder / f"{name}.pem"
        self._home = folder / f"{name}.home"
        self._request = folder / "request"

    async def signing_request(self) -> bytes:
        return self._request.read_bytes()


class LightCells:
    """All cells of this process."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self._folder = folder
        self._tasks = tasks
        self._lives: dict[str, asyncio.Task[None]] = {}

    def known(self, number: int, ports: str) -> None:
        """A cell that has joined in an earlier life."""
        controllers = tuple(f"127.0.0.1:{port}" for port in ports.split(","))
        settings = wire.CellSettings(heartbeat_interval_ms=5000).SerializeToString()
        home = Home(cell=f"c-{number}", controllers=controllers, renew_at=time.time() + DAY, settings=settings)
        self._start(self._stay(_SharedIdentity(self._folder, home.cell), home), address(number), home.cell)

    def boot(self, told: dict[str, str]) -> None:
        """An instance was launched."""
        self._start(self._join(told), told["address"], told["instance"])

    def end(self, cell: str) -> None:
        """A cell, as its name is, has lost its instance."""
        self._lives[cell].cancel()

    def _start(self, work: Any, here: str, name: str) -> None:
        token = HERE.set(here)
        self._lives[name] = self._tasks.create_task(work)
        HERE.reset(token)

    async def _join(self, told: dict[str, str]) -> None:
        identity = _SharedIdentity(self._folder, told["instance"])
        document = told["instance"].encode()
        tree = {
            "user-data": told["user_data"].encode(),
            "dynamic/instance-identity/document": document,
            "dynamic/instance-identity/signature": b"",
            "meta-data/mac": b"0",
            "meta-data/network/interfaces/macs/0/vpc-ipv4-cidr-blocks": b"10.0.0.0/16",
        }
        await self._stay(identity, await join_for_ever(identity, TableMetadata(tree)))

    async def _stay(self, identity: CellIdentity, home: Home) -> None:
        window = RedialWindow()
        server = prepared([_LightCell(home, window)], details=True, limits=CELL_SERVER)
        await stay(server, identity, home, lambda: None, window)


async def run(folder: Path, name: str, ports: str, first: int, last: int) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(folder / f"cells-{name}.sock"))
    listening.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        cells = LightCells(folder, tasks)
        # As instances boot: not all in one second.
        await asyncio.sleep(first / STARTED_EACH_SECOND)
        for number in range(first, last):
            cells.known(number, ports)
            await asyncio.sleep(1 / STARTED_EACH_SECOND)
        while True:
            told = json.loads(await asyncio.get_running_loop().sock_recv(listening, 1 << 16))
            cells.end(told["end"]) if "end" in told else cells.boot(told)


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder, name, ports, first, last = sys.argv[1:]
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(run(Path(folder), name, ports, int(first), int(last)))


if __name__ == "__main__":
    main()
