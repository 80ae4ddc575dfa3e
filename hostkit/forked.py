"""Processes that this process' forker forks for it (see `forker`); none where it has no forker, or no more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import PIPE
from contextlib import ExitStack, suppress

from hostkit import forker
from hostkit.pipes import handed_over, reading, writing


class Forked:
    """Process that was forked; it looks like asyncio's. `told` says how it ends, for a descriptor of it."""

    def __init__(self, pid: int, descriptor: int, told: socket.socket) -> None:
        self.pid = pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.returncode: int | None = None
        self._reading: asyncio.ReadTransport | None = None
        self._descriptor = descriptor
        self._told = told
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(told.fileno(), self._ends)

    def send_signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError once it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """SIGKILL. Raises ProcessLookupError once it has ended."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative after a signal."""
        await self._ended.wait()
        return self.returncode or 0

    async def connect(self, stdin: int | None, stdout: int | None) -> None:
        """Put streams around our ends of its pipes, which are taken over."""
        if stdout is not None:
            self.stdout, self._reading = await reading(handed_over(stdout, "rb"))
        if stdin is not None:
            self.stdin = await writing(handed_over(stdin, "wb"))

    def close(self) -> None:
        """Let go of its pipes."""
        if self._reading is not None:
            self._reading.close()
        if self.stdin is not None:
            self.stdin.close()

    def _ends(self) -> None:
        try:
            word = self._told.recv(forker.LONGEST)
        except ConnectionResetError:
            word = b""
        if not word:  # nobody is left who could say how it ends, so it ends now
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        self.returncode = int(word or -signal.SIGKILL)
        asyncio.get_running_loop().remove_reader(self._told.fileno())
        self._told.close()
        os.close(self._descriptor)
        self._ended.set()


async def fork(module: str, *, stdin: int, stdout: int, asks: bool) -> Forked | None:
    """Have `main` of a module begin in a process of its own, with pipes where PIPE is given; with `asks` it can do the
    same. None where nobody is there to do it. Raises OSError.
    """
    if not forker.asking:
        return None
    with ExitStack() as held:
        theirs, ours = [stdin, stdout], [-1, -1]
        for number in (0, 1):
            if theirs[number] == PIPE:
                ends = os.pipe()
                theirs[number], ours[number] = ends if number == 0 else ends[::-1]
                for each in ends:
                    held.callback(os.close, each)
        told, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        held.enter_context(told)
        with tells:
            message = f"{module} {'asks' if asks else '-'}".encode()
            try:
                socket.send_fds(forker.asking[0], [message], [*theirs, tells.fileno()])
            except OSError:  # it is over, or has too much to do
                return None
        await _readable(told)
        word, descriptors, _, _ = socket.recv_fds(told, forker.LONGEST, 1)
        if not descriptors:  # it could not begin
            return None
        own = [os.dup(each) if each >= 0 else None for each in ours]
        made = Forked(int(word), descriptors[0], told.dup())
    await made.connect(*own)
    return made


async def _readable(sock: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
