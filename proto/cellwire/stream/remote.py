"""Sessions in a cell, over its gRPC calls: what a controller offers as backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from cellwire.cell.v1 import cell_pb2 as pb
from cellwire.cell.v1.cell_grpc import CellStub
from cellwire.faults import Fault, Kind, legible
from cellwire.rpc.call import translate_errors
from cellwire.rpc.carried import Piece, parted
from cellwire.stream.service import carrying, messages, pieces
from cellwire.stream.session import Exited, Output, Session, SessionRequest, Stderr, Stdout, Tunnel

if TYPE_CHECKING:
    from grpclib.client import Channel, Stream, StreamStreamMethod

    SessionStream = Stream[pb.SessionInput, pb.SessionOutput]
    SessionMethod = StreamStreamMethod[pb.SessionInput, pb.SessionOutput]
    ForwardStream = Stream[pb.PortForwardInput, pb.PortForwardOutput]


# Messages in a row that are taken from what has arrived before anybody else has a turn: they may be of one byte.
TURN = 32
Sent = TypeVar("Sent")
Received = TypeVar("Received")


class RemoteBackend:
    """A backend at the other end of a channel. `channel` is asked at each session: it raises Fault UNAVAILABLE."""

    def __init__(self, channel: Callable[[], Channel]) -> None:
        self._channel = channel

    def exec(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Start a command in a running container of the cell."""
        return _session(lambda: CellStub(self._channel()).Exec, request)

    def attach(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Attach to the process of a container of the cell."""
        return _session(lambda: CellStub(self._channel()).Attach, request)

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[Tunnel]:
        """Dial a port in the cell; entering waits until the port has answered."""
        start = pb.PortForwardStart(sandbox_id=sandbox_id, port=port)
        async with _opened(CellStub(self._channel()).PortForward) as stream:
            with translate_errors():
                await stream.send_message(pb.PortForwardInput(start=start))
                reply = await stream.recv_message()
            answer = parted(reply, "output")[0] if reply is not None else None
            if reply is None or answer != "connected":
                raise _failure(reply.failure.message if reply and answer == "failure" else "the cell gave no answer")
            yield _RemoteTunnel(stream)


@asynccontextmanager
async def _session(method: Callable[[], SessionMethod], request: SessionRequest) -> AsyncGenerator[Session]:
    start = pb.SessionStart(
        container_id=request.container_id,
        command=request.command,
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    async with _opened(method()) as stream:
        with translate_errors():
            await stream.send_message(pb.SessionInput(start=start))
        yield _RemoteSession(stream)


class _Left(Exception):
    """The caller is done with the call."""


@asynccontextmanager
async def _opened(method: StreamStreamMethod[Sent, Received]) -> AsyncGenerator[Stream[Sent, Received]]:
    """One call. What is still under way at the end is given up: the cell's end is cancelled, not waited for."""
    try:
        async with method.open() as stream:
            yield stream
            raise _Left  # an exception makes grpclib reset the stream, without waiting for its end
    except _Left:
        pass


async def _next(stream: Stream[Sent, Received], taken: int) -> Received | None:
    """The next message of a stream of which so many were taken; None at its end."""
    if taken % TURN == 0:
        await asyncio.sleep(0)
    with translate_errors():
        return await stream.recv_message()


def _failure(sentence: str) -> Fault:
    thing, found, cause = legible(sentence).partition(": ")
    return Fault(Kind.BROKEN, thing if found else "the session", cause if found else sentence)


class _RemoteSession:
    def __init__(self, stream: SessionStream) -> None:
        self._stream = stream
        self._stdin_ended = False
        # Input and window sizes come from two tasks; a message that waits for its window must not be interrupted.
        self._sending = asyncio.Lock()

    async def write_stdin(self, data: Piece) -> None:
        if not self._stdin_ended:
            for piece in pieces(data):
                await self._send(carrying(pb.SessionInput, "stdin", piece))

    async def close_stdin(self) -> None:
        if not self._stdin_ended:
            self._stdin_ended = True
            await self._send(pb.SessionInput(stdin_end=pb.StdinEnd()))

    async def resize(self, width: int, height: int) -> None:
        await self._send(pb.SessionInput(resize=pb.TerminalSize(width=width, height=height)))

    async def _send(self, message: pb.SessionInput) -> None:
        async with self._sending:
            with translate_errors():
                await self._stream.send_message(message)

    async def output(self) -> AsyncIterator[Output]:
        for taken in count(1):
            message = await _next(self._stream, taken)
            if message is None:
                raise Fault(Kind.BROKEN, "the session", "the cell ended it without an exit code")
            field, said = parted(message, "output")
            match field:
                case "stdout":
                    for piece in said:
                        yield Stdout(piece)
                case "stderr":
                    for piece in said:
                        yield Stderr(piece)
                case "exit":
                    yield Exited(message.exit.code)
                    return
                case "failure":
                    raise _failure(message.failure.message)
                case _:
                    pass


class _RemoteTunnel:
    def __init__(self, stream: ForwardStream) -> None:
        self._stream = stream
        self._ended = False

    async def write(self, *data: Piece) -> None:
        if self._ended:
            return
        with translate_errors():
            for some in messages(data):
                await self._stream.send_message(carrying(pb.PortForwardInput, "data", *some))

    async def close_writing(self) -> None:
        if self._ended:
            return
        self._ended = True
        with translate_errors():
            await self._stream.send_message(pb.PortForwardInput(end=pb.DataEnd()))

    async def received(self) -> AsyncIterator[Piece]:
        for taken in count(1):
            message = await _next(self._stream, taken)
            if message is None:
                raise Fault(Kind.BROKEN, "the tunnel", "the cell ended it before the pod did")
            field, said = parted(message, "output")
            match field:
                case "data":
                    for piece in said:
                        yield piece
                case "end":
                    return
                case "failure":
                    raise _failure(message.failure.message)
                case _:
                    pass
