"""What a bridge needs of the place where exec, attach and port-forward happen.

An agent implements this directly; a controller implements it over the cell's gRPC calls (`remote`). Everything is
back-pressured: a reader that does not iterate holds the writer at the other end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from cellwire.rpc.carried import Piece


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """One exec or attach: `command` is empty for attach. `stderr` never goes with `tty`."""

    container_id: str
    command: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True


@dataclass(frozen=True, slots=True)
class Stdout:
    """Bytes of standard output, or of the terminal."""

    data: Piece


@dataclass(frozen=True, slots=True)
class Stderr:
    """Bytes of standard error."""

    data: Piece


@dataclass(frozen=True, slots=True)
class Exited:
    """The process ended: exit code, 128 + n after signal n. Always the last output."""

    code: int


Output = Stdout | Stderr | Exited


class Session(Protocol):
    """A running exec or attach session. Leaving its context ends it."""

    async def write_stdin(self, data: Piece) -> None:
        """Hand bytes to the process; returns once they are accepted. Bytes after the end are dropped."""
        ...

    async def close_stdin(self) -> None:
        """No more standard input. Idempotent."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in columns and rows; without effect where there is no terminal."""
        ...

    def output(self) -> AsyncIterator[Output]:
        """Everything the process says, in order; ends after `Exited`. Raises Fault where the session broke."""
        ...


class Tunnel(Protocol):
    """One TCP connection to a port of the pod. Leaving its context closes it."""

    async def write(self, *data: Piece) -> None:
        """Send bytes, in pieces; returns once they are accepted."""
        ...

    async def close_writing(self) -> None:
        """No more bytes will be sent (half-close). Idempotent."""
        ...

    def received(self) -> AsyncIterator[Piece]:
        """Bytes from the pod until its end of file. Raises Fault where the connection broke."""
        ...


class Backend(Protocol):
    """The place where sessions happen. Entering raises Fault when the thing asked for cannot be had."""

    def exec(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Start a command in a running container."""
        ...

    def attach(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Attach to the container's own process."""
        ...

    def port_forward(self, sandbox_id: str, port: int) -> AbstractAsyncContextManager[Tunnel]:
        """Dial a TCP port on the loopback of a sandbox's network."""
        ...
