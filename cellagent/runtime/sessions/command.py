"""Starting a command in a running container, and its end: the OCI runtime's `exec`, alone or under conmon.

crun hands its own descriptors to the command, so it may wait for it itself. runc in the foreground copies between pipes
of its own, and would wait for every process that the command has left behind; detached it hands its descriptors on too,
and conmon stays as the command's parent to tell the exit code. A terminal is always handed to us over a socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cellagent.runtime import conmon
from cellagent.runtime.machine import ExecTarget, new_id
from cellagent.runtime.sessions.descriptors import readable
from cellwire.faults import Fault, Kind
from cellwire.stream.session import SessionRequest
from hostkit import pids, programs
from hostkit.children import Child

# What a killed command needs to be gone, at most.
KILL_SECONDS = 5.0
LOOK_SECONDS = 0.05
# A runtime that starts no command within this time is hung.
START_DEADLINE = 60.0
WORDS = 64 * 1024


class _Held:
    """A descriptor that is closed once, whoever comes first."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class NotStarted(Exception):
    """The runtime could not start the command; its words."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What the runtime is told: a descriptor of the command's description, and two files.

    Hundreds of sessions may be open at once: a descriptor of each is held no longer than it is needed.
    """

    place: ExecTarget
    spec: _Held
    log: Path
    pid_file: Path

    def flags(self) -> list[str]:
        """The runtime's own, before its verb."""
        return ["--root", str(self.place.runtime_state), "--log", str(self.log), "--log-format", "json"]

    def words(self) -> str:
        """Why the runtime did not start the command."""
        said: list[str] = []
        for line in _text(self.log).splitlines():
            with suppress(msgspec.MsgspecError):
                entry = msgspec.json.decode(line, type=dict[str, str])
                said += [entry.get("msg", "")] if entry.get("level") == "error" else []
        return "; ".join(word for word in said if word) or "the OCI runtime ended without a word"

    def pid(self) -> int:
        """The command's own process; 0 where there is none yet."""
        return _number(self.pid_file)


class Command:
    """A command that is being started or runs. `process` is the program of ours that waits for it."""

    def __init__(self, process: Child, order: _Order, told: int = -1) -> None:
        """`told` is a descriptor on which conmon reports; -1 where the runtime itself waits."""
        self.process = process
        self._order = order
        self._told = told

    async def code(self) -> int:
        """The exit code, 128 + n after signal n.

        Raises NotStarted where the command could not be started, Fault where its container is just ending and where
        nobody could say how it ended.
        """
        known = await self._code()
        if known is not None:
            return known
        place = self._order.place
        thing = f"exec in container {place.name}"
        if place.ending():
            raise Fault(Kind.PRECONDITION, thing, "the container has just ended")
        if self._order.pid():
            raise Fault(Kind.BROKEN, thing, "the program that waited for the command was killed")
        raise NotStarted(self._order.words())

    async def _code(self) -> int | None:
        """The exit code, where the command was started and somebody saw its end."""
        if self._told < 0:
            code = await self.process.wait()
            started = code == 0 or self._order.pid() > 0
            return (code if code >= 0 else 128 - code) if started else None
        reports = conmon.reports(await read_to_end(self._told))
        await self.process.wait()
        return reports[1].data if len(reports) > 1 else None

    async def end(self) -> None:
        """Kill the command and wait for its end; nothing to do where it has ended."""
        try:
            async with asyncio.timeout(KILL_SECONDS):
                # It may be left while it is still being started, and is killed as soon as it is there.
                while self.process.returncode is None:
                    kill_tree(self._order.pid())
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self.process.wait()
        except TimeoutError:
            programs.kill_session(self.process.pid)
            await self.process.wait()
            kill_tree(self._order.pid())


def process_spec(config: Mapping[str, Any], command: Sequence[str], *, terminal: bool) -> dict[str, Any]:
    """The container's own process description, with another command."""
    process: dict[str, Any] = {**config["process"], "args": list(command), "terminal": terminal}
    environment: list[str] = config["process"].get("env", [])
    if terminal and not any(text.startswith("TERM=") for text in environment):
        process["env"] = [*environment, "TERM=xterm"]
    return process


@asynccontextmanager
async def on_pipes(place: ExecTarget, request: SessionRequest, stdout: int, stderr: int) -> AsyncGenerator[Command]:
    """Start a command on two descriptors, or DEVNULL, and on a pipe for its input; leaving ends it."""
    with _ordered(place, request) as order:
        if place.runtime.name == "crun":
            argv = [str(place.runtime), *order.flags(), "exec", "--process", f"/proc/self/fd/{order.spec.fd}"]
            argv += ["--pid-file", str(order.pid_file), place.container_id]
            process = await programs.launch(
                argv,
                stdin=PIPE if request.stdin else DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(order.spec.fd,),
            )
            order.spec.close()
            async with _ended(Command(process, order)) as command:
                yield command
            return
        stdin = PIPE if request.stdin else DEVNULL
        async with _held(order, stdin=stdin, stdout=stdout, stderr=stderr) as command:
            yield command


@asynccontextmanager
async def on_terminal(place: ExecTarget, request: SessionRequest) -> AsyncGenerator[tuple[Command, int]]:
    """Start a command on a new terminal; leaving ends it.

    The second value is the terminal's other end, which is the caller's to close; -1 where there came none.
    """
    with _ordered(place, request) as order, _door(place) as (door, folder, name):
        options = ("--console-socket", f"/proc/self/fd/{folder}/{name}")
        async with _held(order, options=options, passed=(folder,)) as command:
            yield command, await _handed(door, command.process)


@asynccontextmanager
async def _held(
    order: _Order,
    *,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    options: Sequence[str] = (),
    passed: Sequence[int] = (),
) -> AsyncGenerator[Command]:
    """Under conmon."""
    ours, theirs = os.pipe()
    try:
        try:
            os.set_blocking(ours, False)
            place = order.place
            process = await programs.launch(
                conmon.exec_command_line(
                    conmon.Exec(
                        container_id=place.container_id,
                        name=place.name,
                        runtime=place.runtime,
                        runtime_flags=tuple(order.flags()),
                        bundle=place.bundle,
                        spec=f"/proc/self/fd/{order.spec.fd}",
                        pid_file=order.pid_file,
                        options=tuple(options),
                    )
                ),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={**programs.ENVIRONMENT, **conmon.HASTE, "_OCI_SYNCPIPE": str(theirs)},
                # It leaves its note of a lack of memory where it stands.
                cwd=place.bundle,
                pass_fds=(theirs, order.spec.fd, *passed),
            )
            order.spec.close()
        finally:
            os.close(theirs)
        async with _ended(Command(process, order, ours)) as command:
            yield command
    finally:
        os.close(ours)


@asynccontextmanager
async def _ended(command: Command) -> AsyncGenerator[Command]:
    try:
        yield command
    finally:
        try:
            await command.end()
        finally:
            command.process.close()


@contextmanager
def _ordered(place: ExecTarget, request: SessionRequest) -> Generator[_Order]:
    """The description in memory, where it costs nothing to take away, and names for the files of pid and log.

    Whoever has started the runtime closes the descriptor, which that has inherited.
    """
    config = msgspec.json.decode((place.bundle / "config.json").read_bytes())
    name = f"exec-{new_id()[:12]}"
    pid_file, log = place.bundle / f"{name}.pid", place.bundle / f"{name}.log"
    spec = _Held(os.memfd_create("process.json"))
    try:
        os.write(spec.fd, msgspec.json.encode(process_spec(config, request.command, terminal=request.tty)))
        yield _Order(place, spec, log, pid_file)
    finally:
        spec.close()
        log.unlink(missing_ok=True)
        pid_file.unlink(missing_ok=True)


@contextmanager
def _door(place: ExecTarget) -> Generator[tuple[socket.socket, int, str]]:
    """A socket in the container's folder, a descriptor of that folder, and the socket's name in it.

    A socket's path may have 107 characters; the descriptor makes it short.
    """
    name = f"console-{new_id()[:12]}"
    folder = os.open(place.bundle, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as door:
            door.bind(f"/proc/self/fd/{folder}/{name}")
            door.listen(1)
            yield door, folder, name
    finally:
        (place.bundle / name).unlink(missing_ok=True)
        os.close(folder)


async def _handed(door: socket.socket, process: Child) -> int:
    """The descriptor that the runtime hands over, unless everything ends first. Raises Fault TIMEOUT."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(readable(door.fileno())), group.create_task(_gone(process))]
        await asyncio.wait(waits, timeout=START_DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    try:
        caller, _ = door.accept()
    except BlockingIOError:
        if process.returncode is not None:
            return -1
        cause = f"the OCI runtime gave no terminal within {START_DEADLINE:.0f} s"
        raise Fault(Kind.TIMEOUT, "exec on a terminal", cause) from None
    with caller:
        caller.settimeout(0)
        await readable(caller.fileno())
        _, found, _, _ = socket.recv_fds(caller, WORDS, 1, socket.MSG_CMSG_CLOEXEC)
        return found[0] if found else -1


async def _gone(process: Child) -> None:
    await process.wait()


async def read_to_end(fd: int) -> bytes:
    """Everything that comes on a descriptor of ours that does not block."""
    said = bytearray()
    while True:
        try:
            data = os.read(fd, WORDS)
        except BlockingIOError:
            await readable(fd)
            continue
        if not data:
            return bytes(said)
        said += data


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and everything that descends from it."""
    left = [pid] if pid > 0 else []
    while left:
        one = left.pop()
        left += pids.children(one)
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")[:WORDS]
    return ""


def _number(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0
