"""The unpacking processes of one pull, as the pull child has them: one process to fork from, a fork for each layer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, Protocol, cast

import msgspec

from cellagent.images import child_processes, pipe_frames
from cellagent.images.manifest import Descriptor
from cellagent.images.messages import Unpacked, UnpackMessage, UnpackRequest
from cellwire.faults import Fault, Kind
from hostkit import programs
from hostkit.pipes import handed_over, reading

_UNPACKING = "what has come of it is still being unpacked"


class LayerListener(Protocol):
    """Listener to layers on their way."""

    def arrived(self, count: int) -> None:
        """`count` compressed bytes came."""
        ...

    def held(self, why: str) -> AbstractContextManager[None]:
        """While it lasts, one layer waits for something else than its registry."""
        ...


class Blobs(Protocol):
    """Source of compressed layers."""

    def blob(self, descriptor: Descriptor) -> AsyncIterator[bytes]:
        """The bytes that `descriptor` names, not yet verified."""
        ...


class Unpackers:
    """Unpacks layers, several at once, each in a process of its own."""

    def __init__(self, control: socket.socket, room: int) -> None:
        self._control = control
        self._room = room

    async def unpack(
        self, folder: str, layer: Descriptor, diff_id: str, blobs: Blobs, listener: LayerListener
    ) -> Unpacked:
        """Unpack one layer into the empty `folder`. Raises Fault."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            request = UnpackRequest(folder=folder, digest=layer.digest, diff_id=diff_id, room=self._room)
            socket.send_fds(self._control, [pipe_frames.encoded(request)], [theirs.fileno()])
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(_feed(writer, layer, blobs, listener))
                answer = await _answer(reader)
                feeding.cancel()  # who has answered wants no more
        finally:
            writer.transport.abort()
        if isinstance(answer, Unpacked):
            return answer
        raise answer.fault()


@asynccontextmanager
async def running(room: int = 0) -> AsyncGenerator[Unpackers]:
    """The processes, whose layers have so many bytes of `room` together, 0 for what the disk has. They have ended when
    this ends, so that nothing writes into folders that are then removed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    alive, held = os.pipe()  # at its end once nobody has it open any more
    try:
        with theirs:
            process = await child_processes.start(["cellagent.images.unpack"], stdin=theirs.fileno(), stdout=held)
    finally:
        os.close(held)
    try:
        with ours:
            yield Unpackers(ours, room)
    finally:
        programs.kill_session(process.pid)
        try:
            await child_processes.reap(process)
        finally:
            await _end_of(alive)


async def _end_of(pipe: int) -> None:
    reader, transport = await reading(handed_over(pipe, "rb"))
    try:
        await reader.read()
    finally:
        transport.close()


async def _feed(writer: asyncio.StreamWriter, layer: Descriptor, blobs: Blobs, listener: LayerListener) -> None:
    """Until it is cancelled."""
    # A process that ended early says why, or nothing; its closed connection is no news.
    with suppress(BrokenPipeError, ConnectionResetError):
        async with aclosing(blobs.blob(layer)) as chunks:  # pyright: ignore[reportArgumentType]
            async for chunk in chunks:
                listener.arrived(len(chunk))
                writer.write(chunk)
                with listener.held(_UNPACKING):
                    await writer.drain()
        writer.write_eof()
    with listener.held(_UNPACKING):
        await asyncio.get_running_loop().create_future()


async def _answer(reader: asyncio.StreamReader) -> UnpackMessage:
    told = cast("AsyncGenerator[UnpackMessage]", child_processes.messages(reader, cast("Any", UnpackMessage)))
    with suppress(msgspec.DecodeError, ConnectionResetError):
        async with aclosing(told):
            async for answer in told:
                return answer
    raise Fault(Kind.BROKEN, "layer", "the unpacking process ended without an answer", "see the agent's log")
