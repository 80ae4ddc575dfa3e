"""The one door to programs: a clean environment, a deadline, a session of their own, their own words in the fault."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cellwire.faults import Fault, Kind
from hostkit import children

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REPLAY_LIMIT = 1000
# Seconds for a program that takes a moment: on a machine that is far behind it waits for its turn as all others do.
LONGEST_RUN = 60.0
ENVIRONMENT = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": "/root"}
# Descriptors that every program inherits which is run to its end: an agent's lock, so that it is held while one lives.
inherited: list[int] = []


class Completed(NamedTuple):
    """Outcome of a program: its code and its output."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """What it said of its failure."""
        return (self.stderr or self.stdout).decode(errors="replace").strip() or f"it ended with {self.returncode}"


async def launch(
    argv: Sequence[str],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> children.Child:
    """Start a program in a session of its own. Raises Fault UNSUPPORTED where it is not installed."""
    with _told(argv, cwd):
        return await children.spawn(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT if env is None else env,
            cwd=cwd,
            pass_fds=pass_fds,
        )


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    deadline: float = LONGEST_RUN,
) -> Completed:
    """Run to the end. Raises Fault TIMEOUT after `deadline` seconds: its session is killed."""
    pipe = asyncio.subprocess.PIPE
    process = await launch(
        argv,
        stdin=pipe if stdin else asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=env,
        cwd=cwd,
        pass_fds=(*pass_fds, *inherited),
    )
    try:
        async with asyncio.timeout(deadline):
            stdout, stderr = await process.communicate(stdin or None)
    except TimeoutError as error:
        raise Fault(Kind.TIMEOUT, replay(argv), f"it did not end within {deadline:g} s") from error
    finally:
        if process.returncode is None:
            kill_session(process.pid)
            await process.wait()
    return Completed(process.returncode or 0, stdout, stderr)


def run_blocking(
    argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] = ENVIRONMENT, deadline: float | None = None
) -> Completed:
    """Run a program to its end where there is no event loop to hold up."""
    try:
        with _told(argv, None):
            done = subprocess.run(
                list(argv), input=stdin, capture_output=True, env=dict(env), timeout=deadline, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise Fault(Kind.TIMEOUT, replay(argv), f"it did not end within {deadline:g} s") from error
    return Completed(done.returncode, done.stdout, done.stderr)


async def check(argv: Sequence[str], *, stdin: bytes = b"", deadline: float = LONGEST_RUN) -> bytes:
    """Run to the end and give the output. Raises Fault BROKEN with the program's own words."""
    done = await run(argv, stdin=stdin, deadline=deadline)
    if done.returncode:
        raise Fault(Kind.BROKEN, replay(argv, stdin), done.words)
    return done.stdout


def replay(argv: Sequence[str], stdin: bytes = b"") -> str:
    """A line that does the same again when pasted into a shell, cut where it is too long for a message. Pure."""
    line = shlex.join(argv)
    text = stdin.decode(errors="replace")
    if text:
        line = f"printf %s {shlex.quote(text)} | {line}"
    return line if len(line) <= REPLAY_LIMIT else line[:REPLAY_LIMIT] + "…"


@contextmanager
def _told(argv: Sequence[str], cwd: Path | None) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise Fault(Kind.BROKEN, replay(argv), f"its folder {cwd} is not there") from error
        raise Fault(Kind.UNSUPPORTED, argv[0], "it is not installed", "install its Debian package") from error
    except PermissionError as error:
        raise Fault(Kind.BROKEN, argv[0], "it may not be executed") from error


def kill_session(pid: int) -> None:
    """Kill a program that `launch` started, and what it started in the same session's first group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
