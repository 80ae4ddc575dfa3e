"""URLs for exec, attach and port-forward of an agent that runs alone.

The HTTP server is loaded and started with the first request for one: an agent in a cell never needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellwire.faults import Fault, Kind
from cellwire.stream.session import Backend, SessionRequest
from hostkit.tasks import Singleflight

if TYPE_CHECKING:
    from cellwire.stream.streaming_server import StreamingServer


class Streaming:
    """The streaming server, once it is wanted. Runs as a task of the room until that ends."""

    def __init__(self, backend: Backend, flights: Singleflight) -> None:
        self._backend = backend
        self._flights = flights
        self._starting = asyncio.Lock()
        self._ready = asyncio.Event()
        self._server: StreamingServer | None = None

    async def exec_url(self, request: SessionRequest) -> str:
        """Where to run a command once."""
        return (await self._running()).exec_url(request)

    async def attach_url(self, request: SessionRequest) -> str:
        """Where to attach once."""
        return (await self._running()).attach_url(request)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """Where to forward ports once."""
        return (await self._running()).port_forward_url(sandbox_id, ports)

    async def _running(self) -> StreamingServer:
        async with self._starting:
            if self._server is None:
                self._ready.clear()
                self._flights.spawn(self._serve(), "streaming server")
                await self._ready.wait()
        if self._server is None:
            raise Fault(Kind.UNAVAILABLE, "streaming server", "it did not start", "see the agent's log")
        return self._server

    async def _serve(self) -> None:
        from cellwire.stream.streaming_server import running  # noqa: PLC0415  aiohttp's memory is spent only where it serves

        try:
            async with running(self._backend) as self._server:
                self._ready.set()
                await asyncio.Event().wait()
        finally:
            self._server = None
            self._ready.set()
