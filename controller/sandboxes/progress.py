"""What people are told of what happens on a cell: how far a pull is, now and then, and that it is not believed. Pure.

The pull's beginning and end are told by who asked for it.
"""

from __future__ import annotations

from controller.link.report_checks import Happened
from controller.model.names import CellName

# For each cell, whatever images it names.
EACH_SECONDS = 10.0
FORGOTTEN_SECONDS = 600.0
Said = tuple[str, str, str]
"""Kind, reason and message of an event."""


class Progress:
    """When something was last told of each cell."""

    def __init__(self) -> None:
        self._told: dict[CellName, float] = {}
        self._warned: dict[CellName, float] = {}

    def news(self, cell: CellName, happened: Happened, now: float) -> Said | None:
        """What is to be told of this, if anything."""
        if happened.warning:
            if now - self._warned.get(cell, -EACH_SECONDS) < EACH_SECONDS:
                return None
            self._warned = _of_late(self._warned, now) | {cell: now}
            return ("Warning", happened.reason, happened.message)
        pull = happened.pull
        if pull is None or happened.reason != "Pulling":
            return None
        if cell not in self._told:
            # A pull that takes no longer than this needs no more words than its beginning and its end.
            self._told = _of_late(self._told, now) | {cell: now}
            return None
        if now - self._told[cell] < EACH_SECONDS:
            return None
        self._told[cell] = now
        return ("Normal", "Pulling", f'Pulling image "{pull.image}": {_share(pull.bytes_done, pull.bytes_total)}')


def _of_late(told: dict[CellName, float], now: float) -> dict[CellName, float]:
    return {name: at for name, at in told.items() if now - at < FORGOTTEN_SECONDS}


def _share(done: int, total: int) -> str:
    if not total:
        return f"{_mib(done)} so far"
    return f"{min(100 * done // total, 100)} % of {_mib(total)}"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
