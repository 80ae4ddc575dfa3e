"""The event loop of every process of ours: uvloop's, which asks for names where nobody has to wait for the answer."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import uvloop

from hostkit.daemon_threads import DaemonThreads


class ResolvingLoop(uvloop.Loop):
    """Ends at once though a name is asked for that no server answers: libuv's own threads would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._resolving = DaemonThreads()

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  asyncio's
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See asyncio."""
        ask = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await self.run_in_executor(self._resolving, ask)
