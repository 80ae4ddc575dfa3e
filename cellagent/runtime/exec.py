"""Commands beside a container's own process: the OCI runtime's `exec` on pipes or on a terminal of ours.

The runtime process waits for the command and hands on its exit code. Its pid file names the command itself, which is
what must be killed when a session is left: killing the runtime process alone would leave the command running.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cellagent.kernel import processes
from cellagent.kernel.children import Child
from cellagent.runtime.conmon import HASTE
from cellagent.runtime.machine import new_id
from cellagent.runtime.terminal import Terminal
from cellwire.faults import Fault, Kind
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout

CHUNK = 64 * 1024
# How long what a command left behind may be silent, after it ended itself, before its pipes are closed.
LINGER = 0.3
# What a killed command needs to be gone, at most.
KILL_SECONDS = 5.0
EXEC_SYNC_OUTPUT = 16 << 20
# What a shell says of a command that it cannot find. The runtime's words are on stderr.
NOT_STARTED = 127


@dataclass(frozen=True, slots=True)
class Place:
    """A running container as exec needs it."""

    container_id: str
    name: str
    runtime: Path
    runtime_state: Path
    bundle: Path


@dataclass(frozen=True, slots=True)
class Finished:
    """A whole command: its exit code and all it said."""

    code: int
    stdout: bytes
    stderr: bytes


def process_spec(config: Mapping[str, Any], command: Sequence[str], *, terminal: bool) -> dict[str, Any]:
    """The container's own process description, with another command."""
    process: dict[str, Any] = {**config["process"], "args": list(command), "terminal": terminal}
    environment: list[str] = config["process"].get("env", [])
    if terminal and not any(text.startswith("TERM=") for text in environment):
        process["env"] = [*environment, "TERM=xterm"]
    return process


@dataclass(frozen=True, slots=True)
class _Order:
    """How the runtime is called for one command: `spec` is a descriptor of the command's process description."""

    argv: list[str]
    spec: int
    pid_file: Path


class _Command:
    """One running `exec`: the runtime's process, and the files that name the command's own."""

    def __init__(self, process: Child, pid_file: Path) -> None:
        self.process = process
        self._pid_file = pid_file

    async def code(self) -> int:
        """The exit code, 128 + n after signal n, 127 where the runtime could not start the command."""
        code = await self.process.wait()
        if code != 0 and not self._pid_file.exists():
            return NOT_STARTED
        return code if code >= 0 else 128 - code

    async def end(self) -> None:
        """Kill the command and wait for the runtime process; nothing to do where it has ended."""
        if self.process.returncode is None:
            kill_tree(_number(self._pid_file))
            try:
                async with asyncio.timeout(KILL_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                processes.kill_session(self.process.pid)
                await self.process.wait()


class Pipes:
    """A session on pipes. What it says waits in a queue of one, so that a slow reader holds the command."""

    def __init__(self, command: _Command) -> None:
        self._command = command
        self._process = command.process
        self._queue: asyncio.Queue[Output] = asyncio.Queue(1)
        self._chunks = 0

    async def write_stdin(self, data: bytes) -> None:
        """Hand over bytes; waits while the command does not read."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            with suppress(OSError):
                stdin.write(data)
                await stdin.drain()

    async def close_stdin(self) -> None:
        """End of file for the command."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        """Pipes have no size."""

    async def output(self) -> AsyncIterator[Output]:
        """Both streams as they come, then the exit code."""
        while True:
            item = await self._queue.get()
            yield item
            if isinstance(item, Exited):
                return

    async def pump(self) -> None:
        """Move what the command says into the queue; the session's own task."""
        sources: list[tuple[asyncio.StreamReader | None, type[Stdout | Stderr]]] = [
            (self._process.stdout, Stdout),
            (self._process.stderr, Stderr),
        ]
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(reader, kind)) for reader, kind in sources if reader is not None]
            code = await self._command.code()
            waiting = {reader for reader in readers if not reader.done()}
            while waiting:
                before = self._chunks
                _, waiting = await asyncio.wait(waiting, timeout=LINGER)
                if self._chunks == before and not self._queue.full():
                    break
            for reader in waiting:
                reader.cancel()
        await self._queue.put(Exited(code))

    async def _read(self, reader: asyncio.StreamReader, kind: type[Stdout | Stderr]) -> None:
        while data := await reader.read(CHUNK):
            await self._queue.put(kind(data))
            self._chunks += 1


class OnTerminal:
    """A session on a terminal."""

    def __init__(self, command: _Command, terminal: Terminal) -> None:
        self._command = command
        self._terminal = terminal

    async def write_stdin(self, data: bytes) -> None:
        """Type bytes."""
        await self._terminal.write(data)

    async def close_stdin(self) -> None:
        """A terminal has no half-close; the person types ^D."""

    async def resize(self, width: int, height: int) -> None:
        """The runtime process copies the size onward when told that it changed."""
        self._terminal.resize(width, height)
        with suppress(ProcessLookupError):
            self._command.process.send_signal(signal.SIGWINCH)

    async def output(self) -> AsyncIterator[Output]:
        """What appears on the terminal, then the exit code."""
        while data := await self._terminal.read():
            yield Stdout(data)
        yield Exited(await self._command.code())


@asynccontextmanager
async def running(place: Place, request: SessionRequest) -> AsyncGenerator[Pipes | OnTerminal]:
    """Start a command; leaving ends it."""
    with _ordered(place, request) as order:
        if request.tty:
            terminal = Terminal()
            try:
                command = await _on_terminal(order, terminal)
                try:
                    yield OnTerminal(command, terminal)
                finally:
                    await command.end()
            finally:
                terminal.close()
            return
        process = await processes.launch(
            order.argv,
            stdin=PIPE if request.stdin else DEVNULL,
            stdout=PIPE if request.stdout else DEVNULL,
            stderr=PIPE if request.stderr else DEVNULL,
            env={**processes.ENVIRONMENT, **HASTE},
            pass_fds=(order.spec,),
        )
        command = _Command(process, order.pid_file)
        try:
            async with asyncio.TaskGroup() as group:
                session = Pipes(command)
                pumping = group.create_task(session.pump())
                try:
                    yield session
                finally:
                    pumping.cancel()
        finally:
            await command.end()
            process.close()


async def to_the_end(place: Place, argv: Sequence[str], timeout_seconds: float) -> Finished:
    """Run a command and collect what it says. Raises Fault TIMEOUT after killing it; 0 seconds mean no limit."""
    said: dict[type[Stdout | Stderr], bytearray] = {Stdout: bytearray(), Stderr: bytearray()}
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


@contextmanager
def _ordered(place: Place, request: SessionRequest) -> Generator[_Order]:
    """The description in memory, where it costs nothing to take away again, and a name for the pid file."""
    config = msgspec.json.decode((place.bundle / "config.json").read_bytes())
    pid_file = place.bundle / f"exec-{new_id()[:12]}.pid"
    spec = os.memfd_create("process.json")
    try:
        os.write(spec, msgspec.json.encode(process_spec(config, request.command, terminal=request.tty)))
        argv = [str(place.runtime), "--root", str(place.runtime_state), "exec", "--process", f"/proc/self/fd/{spec}"]
        yield _Order([*argv, "--pid-file", str(pid_file), place.container_id], spec, pid_file)
    finally:
        os.close(spec)
        pid_file.unlink(missing_ok=True)


async def _on_terminal(order: _Order, terminal: Terminal) -> _Command:
    process = await processes.launch(
        order.argv, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave, pass_fds=(order.spec,)
    )
    terminal.hand_over()
    return _Command(process, order.pid_file)


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and everything that descends from it."""
    if pid <= 0:
        return
    children: list[int] = []
    with suppress(OSError, ValueError):
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(child)


def _number(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0
