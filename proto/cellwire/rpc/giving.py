"""A file for strangers: the agent's bundle, given on the link's port to whoever asks for it by ALPN.

It holds no secret and is checked by its hash, so nobody proves anything; how many are served at once, and for how long,
is bounded. No faster than the peer reads: what waits is a chunk.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Mapping
from pathlib import Path

AT_ONCE = 64
SECONDS = 180.0
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

    def admit(self, asked: str | None) -> asyncio.Protocol | None:
        """A protocol that gives what is asked for; None where there is no such thing, or too many ask."""
        path = self._files.get(asked or "")
        if path is None or len(self._served) >= AT_ONCE:
            return None
        try:
            giving = _Giving(path.open("rb"), self._served)
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

    def __init__(self, file: io.BufferedReader, served: set[_Giving]) -> None:
        self._file = file
        self._served = served
        self._transport: asyncio.Transport | None = None
        self._paused = False
        served.add(self)
        self._timer = asyncio.get_running_loop().call_later(SECONDS, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
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
        self._served.discard(self)
        self._file.close()

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        while self._transport is not None and not self._paused and not self._transport.is_closing():
            chunk = self._file.read(_CHUNK)
            if not chunk:
                self._transport.close()
                return
            self._transport.write(chunk)
