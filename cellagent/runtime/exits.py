"""Exits of containers, and who is told of each.

conmon leaves the exit code in a file; inotify says when. A process descriptor on conmon itself catches the case that
it was killed and left none. Nothing is polled. After a start of the agent everything is looked at once, since it may
have ended in between.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cellagent.runtime.settings import RuntimeSettings
from hostkit.inotify import ARRIVALS, Inotify

_RUNTIMES = "Name:\trunc:["


@dataclass(frozen=True, slots=True)
class ContainerExit:
    """How a container ended. `known` is false where conmon died before it could say."""

    container_id: str
    code: int
    at: int
    oom_killed: bool = False
    known: bool = True


@dataclass(slots=True)
class _Watched:
    ended: asyncio.Event
    init: int
    conmon: int


class Exits:
    """Every running container, each with descriptors of its first process and of its conmon."""

    def __init__(self, settings: RuntimeSettings, inotify: Inotify, tell: Callable[[ContainerExit], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._watched: dict[str, _Watched] = {}
        self._stop = inotify.watch(settings.exits, ARRIVALS, self._heard)

    def close(self) -> None:
        """Containers run on; nobody is told any more."""
        self._stop()
        for container_id in tuple(self._watched):
            self.forget(container_id)

    def add(self, container_id: str, pid: int, conmon_pid: int) -> None:
        """Watch a container that has been started, or that was running before this agent was."""
        if container_id in self._watched:
            return
        watched = _Watched(asyncio.Event(), _descriptor(pid), _descriptor(conmon_pid))
        self._watched[container_id] = watched
        if watched.conmon >= 0:
            asyncio.get_running_loop().add_reader(watched.conmon, self._conmon_ended, container_id)
        self._arrived(container_id)
        if watched.conmon < 0:
            self._conmon_ended(container_id)

    def forget(self, container_id: str) -> None:
        """Stop watching one container."""
        if (watched := self._watched.pop(container_id, None)) is None:
            return
        if watched.conmon >= 0:
            asyncio.get_running_loop().remove_reader(watched.conmon)
            os.close(watched.conmon)
        if watched.init >= 0:
            os.close(watched.init)
        watched.ended.set()

    def send(self, container_id: str, number: int) -> bool:
        """Send a signal to the container's first process; false where it is gone."""
        watched = self._watched.get(container_id)
        if watched is None or watched.init < 0:
            return False
        try:
            signal.pidfd_send_signal(watched.init, number)
        except ProcessLookupError:
            return False
        return True

    async def ended(self, container_id: str) -> None:
        """Return once the container has ended; at once where it is not watched."""
        if watched := self._watched.get(container_id):
            await watched.ended.wait()

    def _heard(self, name: str) -> None:
        for container_id in (name,) if name else tuple(self._watched):
            self._arrived(container_id)

    def _arrived(self, container_id: str) -> None:
        watched = self._watched.get(container_id)
        if watched is None:
            return
        file = self._settings.exits / container_id
        try:
            code, at = int(file.read_text() or "255"), file.stat().st_mtime_ns
        except (OSError, ValueError):
            return
        self._over(ContainerExit(container_id, _as_shell(code), at, self._out_of_memory(container_id)))

    def _conmon_ended(self, container_id: str) -> None:
        self._arrived(container_id)
        if container_id in self._watched:
            self.send(container_id, signal.SIGKILL)
            self._over(ContainerExit(container_id, 255, 0, known=False))

    def _over(self, ended: ContainerExit) -> None:
        self._tell(ended)
        self.forget(ended.container_id)

    def _out_of_memory(self, container_id: str) -> bool:
        return (self._settings.bundle(container_id) / "oom").exists()


def _as_shell(code: int) -> int:
    """Conmon writes 128 + n after signal n already; a negative number is its own failure."""
    return code if 0 <= code <= 255 else 255


def _descriptor(pid: int) -> int:
    with suppress(OSError):
        if pid > 0:
            return os.pidfd_open(pid)
    return -1


def hears(pid: int, number: int) -> bool:
    """Whether this signal does what it should to a process: False for the first of a PID namespace without a handler.

    One that ignores it by choice hears it, and so does one that is gone.
    """
    return signal_heard(_status(pid), number)


def is_runtimes(pid: int) -> bool:
    """Whether a container's first process is still runc's own, which is to become it."""
    return _status(pid).startswith(_RUNTIMES)


def _status(pid: int) -> str:
    with suppress(OSError):
        # A process names itself, by any bytes.
        return Path(f"/proc/{pid}/status").read_text(errors="replace")
    return ""


def signal_heard(status: str, number: int) -> bool:
    """As `hears`, from the text of /proc/PID/status. Pure."""
    # runc's own first process catches every signal, and forgets it when it becomes the container's.
    if status.startswith(_RUNTIMES):
        return False
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in status.split("\n"))}
    numbers = fields.get("NSpid", [])
    if len(numbers) < 2 or numbers[-1] != "1":
        return True
    handled = int((fields.get("SigCgt") or ["0"])[0], 16) | int((fields.get("SigIgn") or ["0"])[0], 16)
    return bool(handled >> (number - 1) & 1)
