"""Where pods' logs are on the controller: one file per start of a container, a complete copy of the cell's.

`<root>/<uid>/<container>/<start>.log`, in CRI format. The last two starts of a container are kept, as by a kubelet,
and of their bytes so many, the newest.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from controller.logs import cutting
from controller.objects.fields import Json
from controller.pods.run import PodRun, Running, Waiting

log = structlog.get_logger()
KEPT_STARTS = 2
# What a termination message of FallbackToLogsOnError may hold, as Kubernetes has it.
FALLBACK_LINES, FALLBACK_BYTES = 80, 2048


class Mirror(Protocol):
    """Copies a container's log from its cell (controller.logs.mirror)."""

    async def copy(
        self,
        channel: Callable[[], Awaitable[Channel]],
        container_id: str,
        path: Path,
        *,
        follow: bool,
        grown: Callable[[], Awaitable[None]],
    ) -> None:
        """Append the cell's bytes to `path` exactly once over reconnects; returns when the last byte is there.

        `grown` is called whenever the file has become much longer.
        """
        ...


class Logs:
    """The folder of logs, and who copies into it."""

    def __init__(self, root: Path, mirror: Mirror, most: int = 0) -> None:
        self.root = root
        self.mirror = mirror
        self._most = most
        """Bytes kept of a container's logs; 0: all."""
        self._complete: set[Path] = set()

    def path(self, uid: str, container: str, start: int) -> Path:
        """The file of one start of a container."""
        return self.root / uid / container / f"{start}.log"

    async def copy(self, connect: Callable[[], Awaitable[Channel]], container_id: str, path: Path) -> None:
        """Copy one container's log to its end."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._forget_before(path)
        await self.mirror.copy(connect, container_id, path, follow=True, grown=partial(self._bound, path.parent))
        self._complete.add(path)
        await self._bound(path.parent)

    async def _bound(self, folder: Path) -> None:
        if not self._most:
            return
        files = sorted((path for path in folder.glob("*.log") if path.stem.isdigit()), key=lambda path: int(path.stem))
        try:
            given = await asyncio.to_thread(cutting.within, files, self._most)
        except OSError as error:
            log.warning("logs take more space than they may", folder=str(folder), cause=str(error))
            return
        if given:
            log.info("the oldest bytes of logs were given up", folder=str(folder), bytes=given, kept=self._most)

    def _forget_before(self, path: Path) -> None:
        oldest = int(path.stem) - KEPT_STARTS + 1
        for other in path.parent.glob("*.log"):
            if other.stem.isdigit() and int(other.stem) < oldest:
                other.unlink(missing_ok=True)
                self._complete.discard(other)

    def forget(self, uid: str) -> None:
        """The pod is gone, and its logs."""
        folder = self.root / uid
        shutil.rmtree(folder, ignore_errors=True)
        self._complete = {path for path in self._complete if folder not in path.parents}

    def file(self, pod: Json, run: PodRun, container: str, *, previous: bool) -> tuple[Path, Callable[[], bool]]:
        """A container's file, and whether it is complete. Raises Fault in kubectl's words where there is none."""
        one = run.of(container)
        name = pod["metadata"]["name"]
        uid = pod["metadata"]["uid"]
        # A container that waits for its next start still shows the log of its last one.
        start = one.starts - 1
        if previous:
            start -= 1 if isinstance(one.state, Running) or not _ended_last(run, container) else 0
        path = self.path(uid, container, start)
        if start < 0 or not path.exists():
            if previous:
                cause = f'previous terminated container "{container}" in pod "{name}" not found'
            else:
                reason = one.state.reason if isinstance(one.state, Waiting) else "ContainerCreating"
                cause = f'container "{container}" in pod "{name}" is waiting to start: {reason}'
            raise Fault(Kind.INVALID, "log", cause, reason="BadRequest")
        over = run.released or previous
        return path, lambda: over or path in self._complete or not path.exists()

    def tail(self, path: Path) -> str:
        """The last lines of a log, without their CRI prefix, for a termination message."""
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - FALLBACK_BYTES * 4))
            lines = file.read().splitlines()[-FALLBACK_LINES:]
        text = b"\n".join(line.split(b" ", 3)[-1] for line in lines)
        return text[-FALLBACK_BYTES:].decode(errors="replace")


def _ended_last(run: PodRun, container: str) -> bool:
    """Whether the container's last start has ended and another one is to come."""
    one = run.of(container)
    return isinstance(one.state, Waiting) and one.last is not None
