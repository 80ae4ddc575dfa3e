"""Processes of the command `chinampa` that begin with all imports done, which are most of a controller's start.

Beside each process of tests one has imported what a controller and a shim need. It forks what is asked for, with the
arguments, environment and log of that. Besides their imports these are as any other: the command's own `main` runs.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# What they say takes effect only where it is there when a process begins.
_OF_A_BEGINNING = ("LD_", "PYTHON", "MALLOC_", "GLIBC_")
ROOT = Path(__file__).resolve().parents[2]
# Bytes of a number that is told by a pipe.
_WORD = 8


class RunningProgram(Protocol):
    """Process that a test ends, stops or waits for; those of asyncio are such, too."""

    @property
    def pid(self) -> int:
        """Number of the process."""
        ...

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        ...

    def send_signal(self, signal: int) -> None:
        """Send it a signal. Raises ProcessLookupError once it has ended."""
        ...

    async def wait(self) -> int:
        """Wait for its end; how it ended."""
        ...


class Preloaded:
    """Process that was forked. A parent of its own waits for it, and tells by a pipe how it ended."""

    def __init__(self, pid: int, told: int) -> None:
        self.pid = pid
        self._told = told
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        if self._code is None:
            try:
                words = os.read(self._told, _WORD)
            except BlockingIOError:
                return None
            os.close(self._told)
            self._code = int(words or -signal.SIGKILL)
        return self._code

    def send_signal(self, signal: int) -> None:
        """Send it a signal. Raises ProcessLookupError once it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal)

    async def wait(self) -> int:
        """Wait for its end; how it ended."""
        while (code := self.returncode) is None:
            await _readable(self._told)
        return code


def needs_an_own_beginning(environment: Mapping[str, str]) -> bool:
    """Whether any of these takes effect only where it is there when a process begins."""
    return any(name.startswith(_OF_A_BEGINNING) for name in environment)


async def spawn(arguments: Sequence[str], log: int, environment: Mapping[str, str]) -> RunningProgram:
    """Start `chinampa` in a session of its own, with what it says in an open file. Not for `needs_an_own_beginning`."""
    told, tells = os.pipe()
    try:
        asked = json.dumps({"arguments": arguments, "environment": dict(environment), "folder": str(Path.cwd())})
        socket.send_fds(_forking(), [asked.encode()], [log, tells])
    finally:
        os.close(tells)
    os.set_blocking(told, False)
    try:
        await _readable(told)
        return Preloaded(int(os.read(told, _WORD)), told)
    except BaseException:
        os.close(told)
        raise


async def _readable(descriptor: int) -> None:
    """Of a descriptor of its own, for several may wait for one end."""
    loop, own, ready = asyncio.get_running_loop(), os.dup(descriptor), asyncio.Event()
    loop.add_reader(own, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(own)
        os.close(own)


_forker: list[socket.socket] = []


def _forking() -> socket.socket:
    if not _forker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())]
            # In a session of its own: who breaks a test run off by ^C has its controllers ended by the test.
            process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        _forker.append(ours)
        atexit.register(_end, ours, process)
    return _forker[0]


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    process.wait()


def _fork_what_is_asked_for(asked: socket.socket) -> int:
    """For ever, until nobody can ask any more; then 0. In what is forked, the code with which it is to end."""
    # Whom the kernel need not keep until somebody asks how it ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 2)
        if not message:
            return 0
        if os.fork() == 0:
            asked.close()
            return _parent(json.loads(message), *descriptors)
        for each in descriptors:
            os.close(each)


def _parent(what: dict[str, Any], log: int, told: int) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) == 0:
        os.close(told)
        return _begin(what, log)
    os.close(log)
    try:
        os.write(told, b"%*d" % (_WORD, pid))
    except BrokenPipeError:  # who asked has gone
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.write(told, b"%*d" % (_WORD, os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _begin(what: dict[str, Any], log: int) -> int:
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(what["folder"])
    os.environ.clear()
    os.environ.update(what["environment"])
    sys.argv = ["chinampa", *what["arguments"]]
    gc.unfreeze()
    from controller.cli import main

    return main()


if __name__ == "__main__":
    from controller.cli import controller, shim

    # As the commands import them.
    with controller.without("rich"):
        from controller import daemon, shim_daemon

    assert all((daemon, shim_daemon, controller, shim)), "imported for what is forked"
    sys.exit(_fork_what_is_asked_for(socket.socket(fileno=int(sys.argv[1]))))
