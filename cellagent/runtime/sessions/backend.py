"""Exec, attach and port-forward where they really happen. Implements cellwire.stream.session.Backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.ledger import Phase, RuntimeLedger
from cellagent.runtime.sessions import attach, exec_session, port_tunnel
from cellwire.faults import Fault, Kind
from cellwire.stream.session import Session, SessionRequest, Tunnel


class LocalBackend:
    """Sessions in containers of this machine."""

    def __init__(self, ledger: RuntimeLedger, containers: RuntimeContainers) -> None:
        self._ledger = ledger
        self._containers = containers

    @asynccontextmanager
    async def exec(self, request: SessionRequest) -> AsyncGenerator[Session]:
        """Start a command in a running container."""
        if not request.command:
            raise Fault(Kind.INVALID, f"exec in container {request.container_id[:13]}", "no command was given")
        async with exec_session.running(self._containers.place(request.container_id), request) as session:
            yield session

    @asynccontextmanager
    async def attach(self, request: SessionRequest) -> AsyncGenerator[Session]:
        """Attach to the container's own process."""
        place = self._containers.place(request.container_id)

        async def code() -> int:
            return await self._containers.ended(place.container_id)

        config = self._ledger.container(place.container_id).parsed()
        ends_with_client = config.stdin_once and not config.tty
        target = attach.AttachTarget(place.bundle, keeps_input=config.stdin and not ends_with_client)
        async with attach.attached(target, request, code) as session:
            yield session

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[Tunnel]:
        """Dial a TCP port on the loopback of a sandbox's network."""
        record = self._ledger.sandbox(sandbox_id)
        if record.phase is not Phase.READY:
            raise Fault(Kind.PRECONDITION, f"sandbox {record.id[:13]}", "it is not ready")
        netns = record.namespaces.get("net")
        async with port_tunnel.dialled(Path(netns) if netns else None, port, record.id) as opened:
            yield opened
