"""Serves the metadata service of every instance from this process, on sockets made inside the instances."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from controller.clouds.local import metadata
from controller.model.names import InstanceId

_GOODBYE_SECONDS = 0.2
_TURNS = 4


class MetadataServers:
    """One small HTTP server per instance."""

    def __init__(self) -> None:
        self._open: dict[InstanceId, tuple[web.Server, asyncio.Server]] = {}

    async def serve(self, instance: InstanceId, known: metadata.InstanceMetadata, listening: socket.socket) -> None:
        """Answer on this socket until `close`; the socket is ours from now on."""
        server = web.Server(_handler(known), access_log=None, keepalive_timeout=15.0)
        try:
            port = await asyncio.get_running_loop().create_server(server, sock=listening, start_serving=False)
        except BaseException:
            listening.close()
            raise
        self._open[instance] = (server, port)
        await port.start_serving()

    async def close(self, instance: InstanceId) -> None:
        """Stop answering this instance. Unknown ones are closed already."""
        if found := self._open.pop(instance, None):
            server, port = found
            # What is being accepted becomes a connection some turns later, and asyncio (3.11) drops it without closing
            # it if the port was closed in between. The callers have ended by now: nothing new comes.
            for _turn in range(_TURNS):
                await asyncio.sleep(0)
            port.close()
            await server.shutdown(_GOODBYE_SECONDS)

    async def close_all(self) -> None:
        """Stop answering."""
        for instance in tuple(self._open):
            await self.close(instance)


def _handler(known: metadata.InstanceMetadata) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        said = metadata.answer(known, request.method, request.path, headers, time.time())
        response = web.Response(status=said.status, text=said.body, headers={"Server": "EC2ws"})
        if said.ttl:
            response.headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] = str(said.ttl)
        return response

    return handle
