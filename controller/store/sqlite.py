"""Records in one SQLite file: write-ahead log, every write synced to the disk before its call returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from cellwire.faults import Fault, Kind
from controller.store.protocol import Stored

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (last INTEGER NOT NULL);
INSERT INTO revision SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM revision);
"""


class SqliteStore:
    """See `controller.store.protocol.Store`."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database
        self._writing = asyncio.Lock()

    async def get(self, kind: str, key: str) -> Stored | None:
        """One record, or None."""
        query = "SELECT key, value, revision FROM records WHERE kind = ? AND key = ?"
        async with self._database.execute(query, (kind, key)) as rows:
            row = await rows.fetchone()
        return Stored(*row) if row else None

    async def list(self, kind: str) -> tuple[Stored, ...]:
        """All records of a kind, by key."""
        query = "SELECT key, value, revision FROM records WHERE kind = ? ORDER BY key"
        async with self._database.execute(query, (kind,)) as rows:
            return tuple([Stored(*row) async for row in rows])

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write; the new revision. Raises Fault EXISTS where the expectation fails."""
        async with self._writing:
            if expected is not None:
                known = await self.get(kind, key)
                if (known.revision if known else 0) != expected:
                    raise Fault(Kind.EXISTS, f"record {kind}/{key}", "somebody else has written it", "read it again")
            await self._database.execute("UPDATE revision SET last = last + 1")
            await self._database.execute(
                "INSERT INTO records SELECT ?, ?, ?, last FROM revision WHERE true "
                "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                (kind, key, value),
            )
            async with self._database.execute("SELECT last FROM revision") as rows:
                row = await rows.fetchone()
            await self._database.commit()
        return int(row[0]) if row else 0

    async def delete(self, kind: str, key: str) -> None:
        """Remove; the absent is no error."""
        async with self._writing:
            await self._database.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
            await self._database.commit()


@asynccontextmanager
async def running(path: Path) -> AsyncGenerator[SqliteStore]:
    """The store in a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        async with aiosqlite.connect(path) as database:
            path.chmod(0o600)
            await database.execute("PRAGMA journal_mode = WAL")
            # A launch must not be forgotten by a power cut between its record and its instance.
            await database.execute("PRAGMA synchronous = FULL")
            await database.executescript(SCHEMA)
            await database.commit()
            yield SqliteStore(database)
    except aiosqlite.DatabaseError as error:
        raise Fault(Kind.BROKEN, f"store {path}", str(error), "restore it from a backup, or move it away") from error
