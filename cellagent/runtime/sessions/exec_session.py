"""Commands beside a container's own process, as sessions: what they are told, what they say, and their end.

A session ends with its command, whoever else holds its pipes: all that the command itself has said is delivered, what
it left behind in the background may add to that for a moment, and is then no longer listened to.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from cellagent.runtime.sessions import command
from cellagent.runtime.sessions.command import Command, ExecTarget, NotStarted
from cellagent.runtime.sessions.descriptors import Terminal, read, readable, widen
from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout

# How long what a command left behind is listened to after its end, in seconds.
LINGER = 0.3
EXEC_SYNC_OUTPUT = 16 << 20
# What a shell says of a command that it cannot find. The runtime's words are on stderr.
NOT_STARTED = 127

Said = type[Stdout | Stderr]


@dataclass(frozen=True, slots=True)
class Finished:
    """A whole command: its exit code and all it said."""

    code: int
    stdout: bytes
    stderr: bytes


class _Source:
    """A descriptor from which a session reads, and how far: what the command has said itself is owed to the reader."""

    def __init__(self, fd: int, kind: Said) -> None:
        self.kind = kind
        self.delivered = 0
        self.paid = asyncio.Event()
        self._fd = fd
        self._taken = 0
        self._owed: int | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes, to the end of file; counts each as delivered when the next is asked for."""
        while data := await self._chunk():
            self._taken += len(data)
            yield data
            self.delivered += len(data)
            self._settle()
        self.paid.set()

    def owe(self) -> None:
        """The command has ended: whatever is in the pipe by now may be its own, what follows is not."""
        self._owed = self._taken + _waiting(self._fd)
        self._settle()

    def _settle(self) -> None:
        if self._owed is not None and self.delivered >= self._owed:
            self.paid.set()

    async def _chunk(self) -> bytes:
        while True:
            try:
                return read(self._fd)
            except BlockingIOError:
                await readable(self._fd)
            except OSError:
                # EIO: the last holder of a terminal's other end is gone.
                return b""


class _Session:
    """What a command says waits in a queue of one, so that a slow reader holds the command."""

    def __init__(self, running: Command, sources: Sequence[_Source], complaints: Said | None) -> None:
        """`complaints` is where the runtime's words go if it cannot start the command."""
        self._command = running
        self._sources = sources
        self._complaints = complaints
        self._queue: asyncio.Queue[Output | Fault] = asyncio.Queue(1)

    async def output(self) -> AsyncIterator[Output]:
        """Everything as it comes, then the exit code. Raises Fault where there is none to tell."""
        while True:
            item = await self._queue.get()
            if isinstance(item, Fault):
                raise item
            yield item
            if isinstance(item, Exited):
                return

    async def pump(self) -> None:
        """Move what the command says into the queue; the session's own task."""
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(source)) for source in self._sources]
            end = await self._end()
            for source in self._sources:
                source.owe()
            for source in self._sources:
                await source.paid.wait()
            if readers:
                await asyncio.wait(readers, timeout=LINGER)
            for reader in readers:
                reader.cancel()
        if isinstance(end, NotStarted):
            if self._complaints is not None and not any(source.delivered for source in self._sources):
                await self._queue.put(self._complaints(f"{end}\n".encode()))
            end = Exited(NOT_STARTED)
        await self._queue.put(end)

    async def _end(self) -> Exited | Fault | NotStarted:
        try:
            return Exited(await self._command.code())
        except (Fault, NotStarted) as error:
            return error

    async def _read(self, source: _Source) -> None:
        async for data in source.chunks():
            await self._queue.put(source.kind(data))


class OnPipes(_Session):
    """A session on pipes."""

    async def write_stdin(self, data: Piece) -> None:
        """Hand over bytes; waits while the command does not read."""
        stdin = self._command.process.stdin
        if stdin is not None and not stdin.is_closing():
            with suppress(OSError):
                stdin.write(data)
                await stdin.drain()

    async def close_stdin(self) -> None:
        """End of file for the command."""
        if self._command.process.stdin is not None:
            self._command.process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        """Pipes have no size."""


class OnTerminal(_Session):
    """A session on a terminal."""

    def __init__(self, running: Command, terminal: Terminal) -> None:
        sources = [_Source(terminal.master, Stdout)] if terminal.master >= 0 else []
        super().__init__(running, sources, Stdout)
        self._terminal = terminal

    async def write_stdin(self, data: Piece) -> None:
        """Type bytes."""
        await self._terminal.write(data)

    async def close_stdin(self) -> None:
        """A terminal has no half-close; the person types ^D."""

    async def resize(self, width: int, height: int) -> None:
        """Set the size, of which the kernel tells the command."""
        self._terminal.resize(width, height)


@asynccontextmanager
async def running(place: ExecTarget, request: SessionRequest) -> AsyncGenerator[OnPipes | OnTerminal]:
    """Start a command; leaving ends it. Raises Fault."""
    if request.tty:
        async with command.on_terminal(place, request) as (started, master):
            terminal = Terminal(master)
            try:
                async with _pumped(OnTerminal(started, terminal)) as session:
                    yield session
            finally:
                terminal.close()
        return
    with _pipe(wanted=request.stdout) as stdout, _pipe(wanted=request.stderr) as stderr:
        async with command.on_pipes(place, request, stdout.theirs, stderr.theirs) as started:
            stdout.hand_over()
            if started.process.stdin is not None:
                widen(started.process.stdin.get_extra_info("pipe").fileno())
            stderr.hand_over()
            ends = ((stdout.ours, Stdout), (stderr.ours, Stderr))
            sources = [_Source(fd, kind) for fd, kind in ends if fd >= 0]
            async with _pumped(OnPipes(started, sources, Stderr if request.stderr else None)) as session:
                yield session


async def to_the_end(place: ExecTarget, argv: Sequence[str], timeout_seconds: float) -> Finished:
    """Run a command and collect what it says. Raises Fault TIMEOUT after killing it; 0 seconds mean no limit."""
    said: dict[Said, bytearray] = {Stdout: bytearray(), Stderr: bytearray()}
    request = SessionRequest(place.container_id, tuple(argv))
    try:
        async with asyncio.timeout(timeout_seconds or None), running(place, request) as session:
            async for item in session.output():
                if isinstance(item, Exited):
                    return Finished(item.code, bytes(said[Stdout]), bytes(said[Stderr]))
                kept = said[type(item)]
                kept += item.data[: EXEC_SYNC_OUTPUT - len(kept)]
    except TimeoutError as error:
        cause = f"it did not end within {timeout_seconds:g} s and was killed"
        raise Fault(Kind.TIMEOUT, f"command {argv[0]!r} in container {place.name}", cause) from error
    raise Fault(Kind.BROKEN, f"command {argv[0]!r} in container {place.name}", "its end was not seen")


@asynccontextmanager
async def _pumped(session: OnPipes | OnTerminal) -> AsyncGenerator[OnPipes | OnTerminal]:
    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(session.pump())
        try:
            yield session
        finally:
            pumping.cancel()


class _Pipe:
    """Both ends of a pipe until `hand_over`, then ours alone; DEVNULL and -1 where none is wanted."""

    def __init__(self, *, wanted: bool) -> None:
        self.ours, self.theirs = os.pipe() if wanted else (-1, DEVNULL)
        if wanted:
            os.set_blocking(self.ours, False)
            widen(self.ours)

    def hand_over(self) -> None:
        """The command has its end: without ours, its exit is the end of file."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def close(self) -> None:
        """Close what is still ours."""
        self.hand_over()
        if self.ours >= 0:
            os.close(self.ours)
            self.ours = -1


@contextmanager
def _pipe(*, wanted: bool) -> Generator[_Pipe]:
    pipe = _Pipe(wanted=wanted)
    try:
        yield pipe
    finally:
        pipe.close()


def _waiting(fd: int) -> int:
    """Bytes that can be read at once."""
    with suppress(OSError):
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0)))[0])
    return 0
