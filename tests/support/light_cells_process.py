"""A controller with a cloud that only lists (`listing_controller`) and light cells, as processes that somebody owns."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

EACH_PROCESS = 500
BACK_SECONDS = 600.0
Json = dict[str, Any]


class ControllerProcess:
    """The controller's process: killed and started again at one port, it finds what it wrote.

    `port` 0 is any; `etcd` is an endpoint, where its records are to be there. `first` gives it a processor whenever it
    wants one, before all other work.
    """

    def __init__(
        self, folder: Path, lease: float = 30.0, *, port: int = 0, etcd: str = "", first: bool = False
    ) -> None:
        self._folder = folder
        self._lease = lease
        self._etcd = etcd
        self._first = first
        self._process: Process | None = None
        self.port = port

    async def start(self, seed: int = 0) -> Json:
        """What it tells once it listens; `seed` cells are made, the first time."""
        await self.spawn(seed)
        return await self.listening()

    async def spawn(self, seed: int = 0) -> None:
        """Start it."""
        module = "tests.support.listing_controller"
        words = (module, str(self._folder), str(self.port), str(seed), str(self._lease), self._etcd)
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-m", *words, stdin=PIPE, stdout=PIPE)
        if self._first:
            os.sched_setscheduler(self._process.pid, os.SCHED_RR, os.sched_param(1))

    async def listening(self) -> Json:
        """What it tells once it listens, which may be once it leads."""
        told = await self._answer()
        self.port = told["port"]
        return told

    async def ask(self, *words: object) -> Json:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return await self._answer()

    def signal(self, number: signal.Signals) -> None:
        """Send it one."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def until_all(self, count: int) -> Json:
        """Wait until so many cells are connected; what it tells then. No cell may be lost meanwhile."""
        async with asyncio.timeout(BACK_SECONDS):
            while (here := await self.ask("here"))["connected"] < count:
                assert not here["lost"], f"{here['lost']} cells were lost"
                await asyncio.sleep(0.25)
        return await self.ask("told")

    async def _answer(self) -> Json:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the controller has ended"
        return json.loads(line)


@asynccontextmanager
async def players(folder: Path, ports: Sequence[int], count: int, niceness: int | None = None) -> AsyncGenerator[None]:
    """Processes that play so many cells, which know controllers at these ports."""
    started: list[Process] = []
    try:
        for number, first in enumerate(range(0, count, EACH_PROCESS)):
            span = (str(first), str(min(first + EACH_PROCESS, count)))
            words = ("tests.support.light_cells", str(folder), str(number), ",".join(map(str, ports)), *span)
            started.append(await asyncio.create_subprocess_exec(sys.executable, "-m", *words))
            if niceness is not None:
                os.setpriority(os.PRIO_PROCESS, started[-1].pid, niceness)
        yield
    finally:
        for one in started:
            if one.returncode is None:
                one.kill()
                await one.wait()


def end(folder: Path, cell: str) -> None:
    """Have a light cell of the first process lose its instance."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(json.dumps({"end": cell}).encode(), str(folder / "cells-0.sock"))
