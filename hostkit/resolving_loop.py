"""The event loop of every process of ours: uvloop's, which asks for names where nobody has to wait for the answer."""

from __future__ import annotations

import contextlib
import ipaddress
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

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """See asyncio. Connects to the first of a name's addresses that answers; raises what the last one said."""
        if host is None or _is_address(host):
            return await super().create_connection(protocol_factory, host, port, **options)
        hints = {name: options.get(name, 0) for name in ("family", "proto", "flags")}
        *others, last = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **hints)
        if options.get("ssl"):
            options["server_hostname"] = options.get("server_hostname") or host
        for *_, address in others:
            with contextlib.suppress(OSError):
                return await super().create_connection(protocol_factory, *address[:2], **options)
        return await super().create_connection(protocol_factory, *last[-1][:2], **options)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
