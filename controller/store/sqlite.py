"""The store in one SQLite file.

One thread of its own holds the connection. Writes that arrive while one transaction is being made durable go together
into the next, so that a thousand launches at once do not cost a thousand syncs. A write whose caller was cancelled is
done all the same: whether it was is told by its revision.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cellwire.faults import Fault, Kind
from controller.store.record_store import Stored

T = TypeVar("T")
# FULL, not NORMAL: with a write-ahead log, NORMAL may lose the last commits when the machine loses power, and a
# forgotten launch is an instance that nobody owns.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000")
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (only INTEGER PRIMARY KEY CHECK (only = 0), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (0, 0);
"""
# More in one transaction would only make the first of them wait.
MOST_AT_ONCE = 100


@dataclass(slots=True)
class _Write:
    """`value` None deletes; `expected` as in the protocol."""

    kind: str
    key: str
    value: bytes | None
    expected: int | None
    done: asyncio.Future[int]


class SqliteStore:
    """See `controller.store.record_store.Store`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, path: Path) -> None:
        self._connection = connection
        self._thread = thread
        self._path = path
        self._writes: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._closed = False

    async def get(self, kind: str, key: str) -> Stored | None:
        """One record, or None."""
        found = await self._read("SELECT key, value, revision FROM records WHERE kind = ? AND key = ?", (kind, key))
        return found[0] if found else None

    async def list(self, kind: str) -> tuple[Stored, ...]:
        """All records of a kind, by key."""
        return await self._read("SELECT key, value, revision FROM records WHERE kind = ? ORDER BY key", (kind,))

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write; returns the new revision."""
        return await self._write(kind, key, value, expected)

    async def delete(self, kind: str, key: str) -> None:
        """Remove; the absent is no error."""
        await self._write(kind, key, None, None)

    def check_lead(self) -> None:
        """The state folder is this process's alone."""

    async def work(self) -> None:
        """Make writes durable, until `close`."""
        while (first := await self._writes.get()) is not None:
            batch = [first]
            last = False
            while len(batch) < MOST_AT_ONCE and not self._writes.empty() and not last:
                write = self._writes.get_nowait()
                last = write is None
                if write is not None:
                    batch.append(write)
            try:
                outcomes = await self._in_thread(lambda batch=batch: _transaction(self._connection, batch))
            except Fault as fault:
                outcomes = [fault] * len(batch)
            for write, outcome in zip(batch, outcomes, strict=True):
                _answer(write, outcome)
            if last:
                return

    def close(self) -> None:
        """Take no more writes; those accepted are finished."""
        self._closed = True
        self._writes.put_nowait(None)

    async def _write(self, kind: str, key: str, value: bytes | None, expected: int | None) -> int:
        if self._closed:
            raise Fault(Kind.UNAVAILABLE, f"store {self._path}", "it is being closed")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._writes.put_nowait(_Write(kind, key, value, expected, done))
        return await done

    async def _read(self, query: str, parameters: tuple[str, ...]) -> tuple[Stored, ...]:
        return await self._in_thread(
            lambda: tuple(Stored(*row) for row in self._connection.execute(query, parameters).fetchall())
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise _fault(self._path, error) from error


def _answer(write: _Write, outcome: int | Fault) -> None:
    if write.done.cancelled():
        return
    if isinstance(outcome, Fault):
        write.done.set_exception(outcome)
    else:
        write.done.set_result(outcome)


def _transaction(connection: sqlite3.Connection, batch: Sequence[_Write]) -> list[int | Fault]:
    """All writes in one transaction; one whose expectation fails changes nothing and harms no other."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (revision,) = connection.execute("SELECT revision FROM counter").fetchone()
        outcomes: list[int | Fault] = []
        for write in batch:
            outcome = _apply(connection, write, revision + 1)
            revision = outcome if isinstance(outcome, int) else revision
            outcomes.append(outcome)
        connection.execute("UPDATE counter SET revision = ?", (revision,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _apply(connection: sqlite3.Connection, write: _Write, revision: int) -> int | Fault:
    at = (write.kind, write.key)
    if write.value is None:
        connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", at)
        return revision
    if write.expected is not None:
        row = connection.execute("SELECT revision FROM records WHERE kind = ? AND key = ?", at).fetchone()
        present = row[0] if row else 0
        if present != write.expected:
            thing = f"record {write.kind}/{write.key}"
            return Fault(Kind.EXISTS, thing, f"it is at revision {present}, not {write.expected}", "read it again")
    connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (*at, write.value, revision))
    return revision


def _fault(path: Path, error: sqlite3.Error) -> Fault:
    cause = str(error)
    # Of a file that is mapped into memory it only says that it could not be extended.
    if "full" in cause or ("I/O" in cause and _is_full(path.parent)):
        return Fault(Kind.UNAVAILABLE, f"store {path}", "no space is left on its disk", "make room on it")
    if "locked" in cause:
        return Fault(Kind.UNAVAILABLE, f"store {path}", "another process holds it", "stop the other controller")
    return Fault(Kind.BROKEN, f"store {path}", cause, "restore it from a backup, or start with an empty state folder")


def _is_full(folder: Path) -> bool:
    try:
        return not os.statvfs(folder).f_bavail
    except OSError:
        return False


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made by us first, for its mode: what follows (-wal, -shm) takes it over.
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


@asynccontextmanager
async def running(path: Path) -> AsyncGenerator[SqliteStore]:
    """The store, open. Raises Fault where the file cannot be opened or is no store."""
    with ThreadPoolExecutor(1, thread_name_prefix="store") as thread:
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _opened, path)
        except sqlite3.Error as error:
            raise _fault(path, error) from error
        except OSError as error:
            raise Fault(Kind.DENIED, f"store {path}", error.strerror or str(error), "choose another folder") from error
        try:
            async with asyncio.TaskGroup() as tasks:
                store = SqliteStore(connection, thread, path)
                tasks.create_task(store.work(), name="store")
                try:
                    yield store
                finally:
                    store.close()
        finally:
            await loop.run_in_executor(thread, connection.close)
