"""A file for strangers: the agent's bundle, given on the link's port to whoever asks for it by ALPN.

It holds no secret and is checked by its hash, so nobody proves anything; how many are served at once, and for how long,
is bounded: in all, of one address (of IPv6 a /64), and by how slowly the peer may read. What waits is a chunk.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from cellwire.rpc.guests import key

AT_ONCE = 64
AT_ONCE_EACH = 4
"""Of one address; who comes beyond it asks again, as the user-data does."""
SECONDS = 180.0
PACE_SECONDS, PACE_BYTES = 10.0, 1 << 20
"""Who reads fewer bytes in so many seconds holds a place that others wait for."""
_CHUNK = 256 << 10
log = logging.getLogger(__name__)


def protocol_of(architecture: str) -> str:
    """The ALPN word that asks for the agent of an architecture ("amd64", "arm64")."""
    return f"chinampa-agent-{architecture}/1"


class Gifts:
    """Files by the ALPN word that asks for them, and who is being served."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._served: set[_Giving] = set()

    def admit(self, asked: str | None, host: str) -> asyncio.Protocol | None:
        """A protocol that gives a host what it asks for; None where there is no such thing, or too many ask."""
        path = self._files.get(asked or "")
        address = key(host)
        if path is None or len(self._served) >= AT_ONCE:
            return None
        if sum(giving.address == address for giving in self._served) >= AT_ONCE_EACH:
            return None
        try:
            giving = _Giving(path.open("rb"), address, self._served)
        except OSError as error:
            log.warning("the agent's bundle %s cannot be read: %s", path, error)
            return None
        return giving

    def end(self) -> None:
        """Cut off everybody."""
        for giving in tuple(self._served):
            giving.abort()


class _Giving(asyncio.Protocol):
    """One connection: the whole file, then its end."""

    def __init__(self, file: io.BufferedReader, address: str, served: set[_Giving]) -> None:
        self.address = address
        self._file = file
        self._served = served
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._taken = 0
        served.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SECONDS, self.abort)
        self._pace = loop.call_later(PACE_SECONDS, self._keep_pace)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._go_on()

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it all."""
        del exc
        self._timer.cancel()
        self._pace.cancel()
        self._served.discard(self)
        self._file.close()

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            self._transport.abort()

    def _keep_pace(self) -> None:
        """Cut it off if it has taken too little since the last time; see to it again later."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        taken = self._file.tell() - waiting
        if taken - self._taken < PACE_BYTES:
            self.abort()
            return
        self._taken = taken
        self._pace = asyncio.get_running_loop().call_later(PACE_SECONDS, self._keep_pace)

    def _go_on(self) -> None:
        while self._transport is not None and not self._paused and not self._transport.is_closing():
            chunk = self._file.read(_CHUNK)
            if not chunk:
                self._transport.close()
                return
            self._transport.write(chunk)
