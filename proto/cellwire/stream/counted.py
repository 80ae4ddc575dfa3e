"""Counts the sessions of a backend: how many there are, and how many there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellwire.stream.session import Backend, Session, SessionRequest, Tunnel

KINDS = ("exec", "attach", "port-forward")


class Sessions:
    """`open` now and `begun` ever, by kind; those that never came to be are in neither."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()

    @contextmanager
    def one(self, kind: str) -> Generator[None]:
        """For as long as a session lasts."""
        self.begun[kind] += 1
        self.open[kind] += 1
        try:
            yield
        finally:
            self.open[kind] -= 1


class CountedBackend:
    """A backend whose sessions are counted in `sessions`. See `cellwire.stream.session.Backend`."""

    def __init__(self, backend: Backend, sessions: Sessions) -> None:
        self._backend = backend
        self._sessions = sessions

    def exec(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Start a command in a running container."""
        return self._session("exec", self._backend.exec(request))

    def attach(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Attach to the container's own process."""
        return self._session("attach", self._backend.attach(request))

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[Tunnel]:
        """Dial a port of the pod."""
        async with self._backend.port_forward(sandbox_id, port) as tunnel:
            with self._sessions.one("port-forward"):
                yield tunnel

    @asynccontextmanager
    async def _session(self, kind: str, entered: AbstractAsyncContextManager[Session]) -> AsyncGenerator[Session]:
        async with entered as session:
            with self._sessions.one(kind):
                yield session
