"""Stand-in backend of the streaming room: sessions and ports that live in memory. Commands: echo, cat, and the like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from cellwire.stream.inbox import Inbox
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout

BLOCK = b"0123456789abcdef" * 4096  # 64 KiB


class MemorySession:
    """What a command sees and says.

    echo ARGS, cat, complain CODE (on standard error), count (bytes of its input), blocks N (64 KiB each),
    size (of its terminal, once set), break (in the middle; with an argument by a fault of ours), anything else hangs.
    """

    def __init__(self, request: SessionRequest) -> None:
        self.request = request
        self.stdin = Inbox()
        self.sizes: list[tuple[int, int]] = []
        self.resized = asyncio.Event()
        self.written = 0
        self.said = 0  # bytes of blocks

    async def write_stdin(self, data: Piece) -> None:
        self.written += len(data)
        await self.stdin.put(data)

    async def close_stdin(self) -> None:
        self.stdin.end()

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))
        self.resized.set()

    async def output(self) -> AsyncIterator[Output]:
        name, *args = self.request.command or ("cat",)
        code = 0
        match name:
            case "echo":
                yield Stdout(" ".join(args).encode())
            case "cat":
                while data := await self.stdin.take():
                    yield Stdout(data)
            case "complain":
                yield Stderr(b"oh dear")
                code = int(args[0])
            case "count":
                yield Stdout(str(await self._drain()).encode())
            case "blocks":
                for _ in range(int(args[0])):
                    self.said += len(BLOCK)
                    yield Stdout(BLOCK)
            case "size":
                await self.resized.wait()
                yield Stdout(f"{self.sizes[-1]}".encode())
            case "break":
                yield Stdout(b"half")
                raise KeyError(name) if args else Fault(Kind.BROKEN, "container c", "it vanished", "look for it")
            case _:
                await asyncio.Event().wait()
        yield Exited(code)

    async def _drain(self) -> int:
        total = 0
        while data := await self.stdin.take():
            total += len(data)
        return total


class MemoryTunnel:
    """A port: 7 echoes and ends with its peer, 9 reads everything and says how much, 19 sends blocks for ever.

    17 says a word, ends its half and hears on. 20 is as 19 once it has heard something. 2 is a fault of ours, any
    other breaks after a word.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.inbox = Inbox()
        self.said = 0
        self.heard = 0
        self.ended = False  # by the client

    async def write(self, *data: Piece) -> None:
        self.heard += sum(map(len, data))
        if self.port != 17:
            for piece in data:
                await self.inbox.put(piece)

    async def close_writing(self) -> None:
        self.ended = True
        self.inbox.end()

    async def received(self) -> AsyncIterator[bytes]:
        if self.port == 7:
            while data := await self.inbox.take():
                yield data
        elif self.port == 9:
            total = 0
            while data := await self.inbox.take():
                total += len(data)
            yield str(total).encode()
        elif self.port in {19, 20}:
            if self.port == 20:
                await self.inbox.take()
            while True:
                self.said += len(BLOCK)
                yield BLOCK
        elif self.port == 17:
            yield b"word"
        elif self.port == 2:
            raise KeyError(self.port)
        else:
            yield b"then "
            raise Fault(Kind.BROKEN, f"port {self.port}", "the connection was reset")


class MemoryBackend:
    """Counts what is open, so that tests see that all was closed."""

    def __init__(self) -> None:
        self.sessions: list[MemorySession] = []
        self.tunnels: list[MemoryTunnel] = []
        self.open = 0

    @asynccontextmanager
    async def _session(self, request: SessionRequest) -> AsyncGenerator[MemorySession]:
        if request.container_id == "gone":
            raise Fault(Kind.NOT_FOUND, "container gone", "there is none", "list the containers")
        session = MemorySession(request)
        self.sessions.append(session)
        self.open += 1
        try:
            yield session
        finally:
            self.open -= 1

    exec = _session
    attach = _session

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[MemoryTunnel]:
        if port == 1:
            raise Fault(Kind.UNAVAILABLE, f"port {port} of sandbox {sandbox_id}", "the connection was refused")
        tunnel = MemoryTunnel(port)
        self.tunnels.append(tunnel)
        self.open += 1
        try:
            yield tunnel
        finally:
            self.open -= 1
