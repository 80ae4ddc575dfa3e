"""For how long a cell that was not believed may not come back: longer each time, and forgotten after a while. Pure.

A connection costs this process some milliseconds, and its end costs the cell nothing: who lies again and again would
have as much of our time as it likes. An agent with a fault of its own is back within seconds.
"""

from __future__ import annotations

import msgspec

from controller.model.names import CellName

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
# After so long without another lie the next one is a first one.
FORGOTTEN_SECONDS = 600.0


class DistrustRecord(msgspec.Struct, frozen=True):
    """How often in a row a cell was not believed, when it last was not, and until when it is kept out."""

    times: int
    at: float
    until: float


def after(former: DistrustRecord | None, now: float) -> DistrustRecord:
    """The record after one more lie."""
    times = former.times + 1 if former is not None and now - former.at < FORGOTTEN_SECONDS else 1
    return DistrustRecord(times, now, now + min(FIRST_SECONDS * 2.0 ** min(times - 1, 20), LONGEST_SECONDS))


class Distrust:
    """All cells that were not believed of late."""

    def __init__(self) -> None:
        self._records: dict[CellName, DistrustRecord] = {}

    def lied(self, cell: CellName, now: float) -> float:
        """One more lie; for how many seconds the cell is kept out."""
        kept = {name: record for name, record in self._records.items() if now - record.at < FORGOTTEN_SECONDS}
        self._records = kept | {cell: after(self._records.get(cell), now)}
        return self._records[cell].until - now

    def keeps_out(self, cell: CellName, now: float) -> bool:
        """Whether the cell may not come in yet."""
        record = self._records.get(cell)
        return record is not None and now < record.until
