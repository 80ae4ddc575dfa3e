"""Child processes by vfork: a fifth of a millisecond, where the event loop's own spawning takes several and forks.

A fork goes through the handlers of Python and of libraries, which may wait for ever for what another thread holds; it
keeps the locks of files then, and who forked waits for it.

A `Child` looks like asyncio's Process. Its end is seen through a process descriptor, so that no signal handler and no
thread is needed, and it is reaped as soon as it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from hostkit.pipes import reading, taken

BUFFER = 64 * 1024


class Child:
    """One running program. Made by `spawn`."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._popen = popen
        self._ended = asyncio.Event()
        self._readers: list[asyncio.ReadTransport] = []
        self._descriptor = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self._popen.returncode if self._ended.is_set() else None

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        await self._ended.wait()
        return self._popen.returncode

    async def communicate(self, data: bytes | None = None) -> tuple[bytes, bytes]:
        """Write input, read both outputs to their ends, wait."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed(data))
            out = group.create_task(self._all(self.stdout))
            err = group.create_task(self._all(self.stderr))
        await self.wait()
        return out.result(), err.result()

    def send_signal(self, number: int) -> None:
        """Send a signal; without effect once it has ended."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def connect(self, limit: int) -> None:
        """Put streams around its pipes."""
        self.stdout = await self._reader(self._popen.stdout, limit)
        self.stderr = await self._reader(self._popen.stderr, limit)
        if self._popen.stdin is not None:
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), taken(self._popen.stdin, "wb")
            )
            self.stdin = asyncio.StreamWriter(transport, protocol, None, loop)

    def close(self) -> None:
        """Let go of its outputs, which its own children may still hold."""
        for transport in self._readers:
            transport.close()
        if self.stdin is not None:
            self.stdin.close()

    def abandon(self) -> None:
        """Nobody will ever hold it: end it here and now."""
        self._popen.kill()
        self.close()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        if not self._ended.is_set():
            self._reap()

    async def _reader(self, pipe: IO[bytes] | None, limit: int) -> asyncio.StreamReader | None:
        if pipe is None:
            return None
        reader, transport = await reading(taken(pipe, "rb"), limit)
        self._readers.append(transport)
        return reader

    async def _feed(self, data: bytes | None) -> None:
        if self.stdin is not None:
            with suppress(OSError):
                self.stdin.write(data or b"")
                await self.stdin.drain()
            self.stdin.close()

    async def _all(self, reader: asyncio.StreamReader | None) -> bytes:
        return await reader.read() if reader is not None else b""

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._popen.wait()
        self._ended.set()


async def spawn(
    argv: Sequence[str],
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    env: Mapping[str, str],
    cwd: Path | None,
    pass_fds: Sequence[int],
) -> Child:
    """Start a program in a session of its own. Raises OSError."""
    popen = subprocess.Popen(  # noqa: ASYNC220  vfork: it blocks for a fifth of a millisecond
        list(argv), stdin=stdin, stdout=stdout, stderr=stderr, env=dict(env), cwd=cwd, pass_fds=tuple(pass_fds),
        start_new_session=True, bufsize=0,
    )  # fmt: skip
    try:
        child = Child(popen)
    except OSError:  # there are no descriptors left to see its end with
        with popen:
            popen.kill()
        raise
    if PIPE in {stdin, stdout, stderr}:
        try:
            await child.connect(BUFFER)
        except BaseException:
            child.abandon()
            raise
    return child
