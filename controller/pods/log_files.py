"""Where pods' logs are on the controller: one file per start of a container, a complete copy of the cell's.

`<root>/<uid>/<container>/<start>.log`, in CRI format, beside it the termination message of that start. Those of the
last two starts of a container are kept, as by a kubelet, and of the logs' bytes so many, the newest.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from cellwire.faults import Fault, Kind
from controller.logs import cutting
from controller.objects.fields import Json
from controller.pods.run import ContainerRun, PodRun, Running, Waiting

log = structlog.get_logger()
KEPT_STARTS = 2
# Of a termination message, as Kubernetes shows it.
MESSAGE, MESSAGE_BYTES = ".message", 4096
# What a termination message of FallbackToLogsOnError may hold, as Kubernetes has it.
FALLBACK_LINES, FALLBACK_BYTES = 80, 2048


class CopiedLog(NamedTuple):
    """The log of a container: its file, whether nothing will follow in it, and whether the container has ended."""

    path: Path
    complete: Callable[[], bool]
    ended: bool


class Logs:
    """The folder of logs."""

    def __init__(self, root: Path, most: int = 0) -> None:
        self.root = root
        self._most = most
        """Bytes kept of a container's logs; 0: all."""

    def path(self, uid: str, container: str, start: int) -> Path:
        """The file of one start of a container."""
        return self.root / uid / container / f"{start}.log"

    def begin(self, uid: str, container: str, start: int) -> tuple[Path, Path]:
        """The files of the log and of the termination message of a start that is to come."""
        path = self.path(uid, container, start)
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.iterdir():
            if other.stem.isdigit() and int(other.stem) <= start - KEPT_STARTS:
                other.unlink(missing_ok=True)
        message = path.with_suffix(MESSAGE)
        message.touch(mode=0o600)
        return path, message

    def message(self, uid: str, container: str, start: int) -> str:
        """The termination message of a start; "" for none."""
        try:
            written = self.path(uid, container, start).with_suffix(MESSAGE).read_bytes()
        except OSError:
            return ""
        return written[-MESSAGE_BYTES:].decode(errors="replace")

    async def bound(self, path: Path) -> None:
        """A log has grown: what is beyond the limit of its container's goes."""
        if not self._most:
            return
        folder = path.parent
        files = sorted((path for path in folder.glob("*.log") if path.stem.isdigit()), key=lambda path: int(path.stem))
        try:
            given = await asyncio.to_thread(cutting.within, files, self._most)
        except OSError as error:
            log.warning("logs take more space than they may", folder=str(folder), cause=str(error))
            return
        if given:
            log.info("the oldest bytes of logs were given up", folder=str(folder), bytes=given, kept=self._most)

    def forget(self, uid: str) -> None:
        """The pod is gone, and its logs."""
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def file(self, pod: Json, run: PodRun, container: str, *, previous: bool) -> Path:
        """A container's file. Raises Fault in kubectl's words where there is none."""
        one = run.of(container)
        name = pod["metadata"]["name"]
        uid = pod["metadata"]["uid"]
        # A container that waits for its next start still shows the log of its last one.
        start = one.starts - 1
        if _begins_anew(one) and start > 0 and not self.path(uid, container, start).exists():
            start -= 1
        if previous:
            start -= 1 if isinstance(one.state, Running) or not _ended_last(run, container) else 0
        path = self.path(uid, container, start)
        if start >= 0 and not previous and not isinstance(one.state, Waiting) and not path.exists():
            # Its copy has not begun yet, as on a controller that has just taken over; or its cell was lost before.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o640)
        if start < 0 or not path.exists():
            if previous:
                cause = f'previous terminated container "{container}" in pod "{name}" not found'
            else:
                reason = one.state.reason if isinstance(one.state, Waiting) else "ContainerCreating"
                cause = f'container "{container}" in pod "{name}" is waiting to start: {reason}'
            raise Fault(Kind.INVALID, "log", cause, reason="BadRequest")
        return path

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


def _begins_anew(one: ContainerRun) -> bool:
    """Whether the next start of a container that has ended is under way."""
    return isinstance(one.state, Waiting) and one.state.reason == Waiting().reason and one.last is not None


def _ended_last(run: PodRun, container: str) -> bool:
    """Whether the container's last start has ended and another one is to come."""
    one = run.of(container)
    return isinstance(one.state, Waiting) and one.last is not None
