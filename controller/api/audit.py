"""The audit log: who wanted what, when, from where, and what came of it; a line of JSON each, in a file that rotates.

Of objects it names them, and never their contents. What nobody known asks is noted as far as there is room for it.
Reads are noted where they are of secrets, or were refused, or where the settings want them all; sessions are noted when
they begin and when they end.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from controller.api.people import AccessRequest

log = structlog.get_logger()
READS = frozenset({"get", "list", "watch"})
SESSIONS = frozenset({"exec", "attach", "portforward"})
# What is kept in memory while the disk is slow; beyond it lines are counted and lost.
MOST_WAITING = 10_000
# Lines of so many seconds are written at once: handing them to a thread costs more than writing them.
GATHER = 0.05
# Names come from whoever asks: a line is to be read by people, and no longer than what it tells.
LONGEST = 300
# Who has no token can ask as often as they like, and must not push what others did out of the file: so many of their
# refusals are noted at once and each second; the next that is noted says how many were not.
STRANGERS_AT_ONCE, STRANGERS_PER_SECOND = 50.0, 1.0


def worth(asked: AccessRequest, code: int, *, reads: bool) -> bool:
    """Whether a request is noted. Pure."""
    quiet = asked.verb in READS and asked.part not in {*SESSIONS, "proxy"} and asked.resource != "secrets"
    return reads or not quiet or code in {401, 403}


class Audit:
    """Takes notes; the file is written by a task of its own."""

    def __init__(self, path: Path | None, now: Callable[[], float], *, reads: bool, largest: int, files: int) -> None:
        self._path = path
        self._now = now
        self._reads = reads
        self._largest = largest
        self._files = files
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._taken: list[bytes] = []
        self._lost = 0
        self._room = STRANGERS_AT_ONCE
        self._stranger_at = 0.0
        self._passed_over = 0

    def request(self, who: str, asked: AccessRequest, code: int, **more: Any) -> None:
        """Note a request, if it is of those that are."""
        if worth(asked, code, reads=self._reads) and (code != 401 or self._has_room(more)):
            told = {"group": asked.group, "subresource": asked.part, **more}
            self.note(who, asked.verb, asked.resource, asked.name, asked.namespace, code, **told)

    def _has_room(self, more: dict[str, Any]) -> bool:
        now = self._now()
        passed = max(0.0, now - self._stranger_at)
        self._room, self._stranger_at = min(STRANGERS_AT_ONCE, self._room + passed * STRANGERS_PER_SECOND), now
        if self._room < 1:
            self._passed_over += 1
            return False
        self._room -= 1
        more["not_noted"], self._passed_over = self._passed_over or None, 0
        return True

    def note(self, who: str, verb: str, resource: str, name: str, namespace: str, code: int, **more: Any) -> None:
        """Note that somebody did something; a code of 0 is for what has only begun."""
        if self._path is None:
            return
        at = datetime.datetime.fromtimestamp(self._now(), datetime.UTC).isoformat(timespec="milliseconds")
        about = {"at": at, "who": who, "verb": verb, "resource": resource, "namespace": namespace, "name": name}
        about = {key: value if len(value) <= LONGEST else f"{value[:LONGEST]}…" for key, value in about.items()}
        kept = {key: value for key, value in {**about, "code": code, **more}.items() if value not in ("", None, [])}
        try:
            self._waiting.put_nowait(msgspec.json.encode(kept) + b"\n")
        except asyncio.QueueFull:
            self._lost += 1

    async def write(self) -> None:
        """Write what is noted. Never returns."""
        while True:
            self._taken.append(await self._waiting.get())
            await asyncio.sleep(GATHER)
            await self._flush()

    async def flush(self) -> None:
        """Write what is noted now."""
        if self._taken or not self._waiting.empty():
            await self._flush()

    async def _flush(self) -> None:
        lines, self._taken = self._taken, []
        while not self._waiting.empty():
            lines.append(self._waiting.get_nowait())
        try:
            await asyncio.to_thread(self._append, b"".join(lines))
        except OSError as error:
            self._lost += len(lines)
            log.warning("the audit log cannot be written", path=str(self._path), lost=self._lost, cause=str(error))

    def _append(self, data: bytes) -> None:
        path = self._path
        if path is None:
            return
        if path.exists() and path.stat().st_size + len(data) > self._largest:
            for number in range(self._files - 1, 0, -1):
                older = path.with_name(f"{path.name}.{number}")
                newer = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
                if newer.exists():
                    newer.replace(older)
        if not path.exists():
            path.touch(mode=0o600)
        with path.open("ab") as file:
            file.write(data)


@asynccontextmanager
async def running(
    path: Path | None, now: Callable[[], float], *, reads: bool = False, largest: int = 64 << 20, files: int = 5
) -> AsyncGenerator[Audit]:
    """Take notes until left, into a file of at most `largest` bytes and its `files` - 1 predecessors; none for None."""
    audit = Audit(path, now, reads=reads, largest=largest, files=files)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(audit.write(), name="audit log")
        try:
            yield audit
        finally:
            writing.cancel()
            await audit.flush()
