"""The calls of cell.v1 that carry sessions, over any backend: what the agent serves.

A fault becomes the last message of the call. (As its status it could be lost: grpclib resets a call that it has ended
with an error, and a caller that is just then sending sees only the reset.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import TYPE_CHECKING, TypeVar, cast

from google.protobuf.message import Message

from cellwire.cell.v1 import cell_pb2 as pb
from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Carried, Piece, parted
from cellwire.rpc.status import error_of
from cellwire.stream.session import Backend, Exited, Output, Session, SessionRequest, Stderr, Stdout, Tunnel

if TYPE_CHECKING:
    from grpclib.server import Stream

    SessionStream = Stream[pb.SessionInput, pb.SessionOutput]
    ForwardStream = Stream[pb.PortForwardInput, pb.PortForwardOutput]

Sent = TypeVar("Sent", bound=Message)
PIECE = 1000 * 1024
"""Bytes of one message: larger ones cost memory, smaller ones time. A controller takes none of a MiB from a cell."""


class SessionService:
    """Exec, Attach and PortForward. The class that implements cell.v1 Cell hands its calls on to these."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def Exec(self, stream: SessionStream) -> None:
        start = await _session_start(stream)
        await _serve(stream, self._backend.exec(start))

    async def Attach(self, stream: SessionStream) -> None:
        start = await _session_start(stream)
        await _serve(stream, self._backend.attach(start))

    async def PortForward(self, stream: ForwardStream) -> None:
        first = await stream.recv_message()
        if first is None or parted(first, "input")[0] != "start":
            raise error_of(_no_start())
        try:
            async with self._backend.port_forward(first.start.sandbox_id, first.start.port) as tunnel:
                await stream.send_message(pb.PortForwardOutput(connected=pb.PortConnected()))
                await _carry(stream, tunnel)
        except Fault as fault:
            await stream.send_message(pb.PortForwardOutput(failure=pb.SessionFailure(message=str(fault))))


def _no_start() -> Fault:
    return Fault(Kind.INVALID, "the session", "its first message is not a start")


def pieces(data: Piece) -> list[Piece]:
    """`data` in messages' sizes; most often it is one."""
    if len(data) <= PIECE:
        return [data]
    data = memoryview(data)
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def messages(data: Sequence[Piece]) -> list[list[Piece]]:
    """`data` in messages' sizes; most often they are one."""
    found: list[list[Piece]] = [[]]
    size = 0
    for piece in chain.from_iterable(map(pieces, data)):
        if size + len(piece) > PIECE:
            found.append([])
            size = 0
        found[-1].append(piece)
        size += len(piece)
    return found


def carrying(kind: type[Sent], field: str, *data: Piece) -> Sent:
    """A message of which one field of bytes is all, for a stream to send."""
    return cast("Sent", Carried(kind, field, data))


async def _session_start(stream: SessionStream) -> SessionRequest:
    first = await stream.recv_message()
    if first is None or parted(first, "input")[0] != "start":
        raise error_of(_no_start())
    start = first.start
    return SessionRequest(
        container_id=start.container_id,
        command=tuple(start.command),
        tty=start.tty,
        stdin=start.stdin,
        stdout=start.stdout,
        stderr=start.stderr,
    )


async def _serve(stream: SessionStream, opening: AbstractAsyncContextManager[Session]) -> None:
    broken: Fault | None = None
    try:
        async with opening as session, asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(_feed_session(stream, session))
            try:
                async for said in session.output():
                    await _say(stream, said)
            except Fault as fault:  # kept, as the group would wrap it
                broken = fault
            finally:
                feeding.cancel()
    except Fault as fault:
        broken = fault
    if broken:
        await stream.send_message(pb.SessionOutput(failure=pb.SessionFailure(message=str(broken))))


async def _carry(stream: ForwardStream, tunnel: Tunnel) -> None:
    broken: Fault | None = None
    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(_feed_tunnel(stream, tunnel))
        try:
            async for data in tunnel.received():
                for piece in pieces(data):
                    await stream.send_message(carrying(pb.PortForwardOutput, "data", piece))
            # The pod may read on after it has ended its own half, until the caller ends the call.
            await stream.send_message(pb.PortForwardOutput(end=pb.DataEnd()))
        except Fault as fault:
            broken = fault
            feeding.cancel()
    if broken:
        raise broken


async def _say(stream: SessionStream, said: Output) -> None:
    match said:
        case Stdout(data):
            for piece in pieces(data):
                await stream.send_message(carrying(pb.SessionOutput, "stdout", piece))
        case Stderr(data):
            for piece in pieces(data):
                await stream.send_message(carrying(pb.SessionOutput, "stderr", piece))
        case Exited(code):
            await stream.send_message(pb.SessionOutput(exit=pb.SessionExit(code=code)))


async def _feed_session(stream: SessionStream, session: Session) -> None:
    """Carry the caller's input. A session that broke says so at its output; its input just ends."""
    try:
        while (message := await stream.recv_message()) is not None:
            field, said = parted(message, "input")
            match field:
                case "stdin":
                    for piece in said:
                        await session.write_stdin(piece)
                case "stdin_end":
                    await session.close_stdin()
                case "resize":
                    await session.resize(message.resize.width, message.resize.height)
                case _:
                    pass
        await session.close_stdin()
    except Fault:
        pass


async def _feed_tunnel(stream: ForwardStream, tunnel: Tunnel) -> None:
    try:
        while (message := await stream.recv_message()) is not None:
            field, said = parted(message, "input")
            match field:
                case "data":
                    await tunnel.write(*said)
                case "end":
                    await tunnel.close_writing()
                case _:
                    pass
        await tunnel.close_writing()
    except Fault:
        pass
