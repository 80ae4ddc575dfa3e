"""A cheap double of a booted instance: it joins and stays at home over real TLS and gRPC, as an agent does, with the
instance's user-data and identity document; but it is a task of this process and runs no pod.

All doubles share one key, so that a thousand of them do not each cost a child process. Certificates are their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import join_for_ever
from cellagent.boot.metadata_client import Metadata
from cellagent.link.heartbeat import hello
from cellagent.link.home import stay
from cellagent.link.redialling import RedialWindow
from cellagent.link.reporting import Reporting
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.serve import prepared
from hostkit import files

# They share the cores with their controller, which instances do not: all at once would only time out.
JOINING = 24


class TableMetadata(Metadata):
    """A metadata service that is a table."""

    def __init__(self, tree: Mapping[str, bytes]) -> None:
        super().__init__()
        self._tree = tree

    async def get(self, path: str) -> bytes:
        try:
            return self._tree[path]
        except KeyError as error:
            raise Fault(Kind.NOT_FOUND, f"metadata {path}", "there is no such thing") from error


class _CopiedIdentity(CellIdentity):
    """An identity with the key and the signing request of another."""

    def __init__(self, folder: Path, key: bytes, request: bytes) -> None:
        super().__init__(folder)
        files.replace(self.key, key)
        self._request = request

    async def signing_request(self) -> bytes:
        return self._request


class _Cell(CellBase):
    """Says that it is there, and nothing else."""

    def __init__(self, home: Home, started: float, window: RedialWindow) -> None:
        self._home = home
        self._window = window
        self._moments = {"agent": started, "joined": time.time()}

    async def Report(self, stream: Any) -> None:
        told = partial(hello, self._home.cell, "double", self._moments, "none")
        every = self._home.cell_settings().heartbeat_interval_ms / 1000
        await Reporting(told, every, lambda: 0, asyncio.Queue(), self._window).serve(stream)

    async def _not_here(self, stream: Any) -> None:
        raise Fault(Kind.UNSUPPORTED, "a double of a cell", "it runs no pods", "boot more real instances")

    MakeContainer = DialWorker = Logs = TrimLog = ReadFile = DiskUsage = MountFolder = Exec = Attach = PortForward = (
        PutFiles
    ) = Services = _not_here


class Doubles:
    """Makes doubles; `folder` keeps their certificates, `boot` is how many seconds each takes to boot."""

    def __init__(self, folder: Path, boot: float = 0.0) -> None:
        self._folder = folder
        self._boot = boot
        self._key = b""
        self._request = b""
        self._turn = asyncio.Lock()
        self._joining = asyncio.Semaphore(JOINING)

    async def live(self, instance: str, tree: Mapping[str, bytes]) -> None:
        """Join, and stay until cancelled. Returns where the instance is not to join at all."""
        await asyncio.sleep(self._boot)
        started = time.time()
        async with self._turn:
            if not self._request:
                first = CellIdentity(self._folder / "first")
                self._request = await first.signing_request()
                self._key = first.key.read_bytes()
        identity = _CopiedIdentity(self._folder / instance, self._key, self._request)
        try:
            async with self._joining:
                home = await join_for_ever(identity, TableMetadata(tree))
        except Fault:
            return  # refused for good: a real agent would say so and wait for its end
        window = RedialWindow()
        server = prepared([_Cell(home, started, window)], details=True)
        await stay(server, identity, home, lambda: None, window)
