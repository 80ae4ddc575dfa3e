"""A cell whose controller is gone for good ends itself, and no sooner than its settings say."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from cellagent.boot.identity import CellIdentity, Home
from cellagent.link import home as link
from cellagent.link.home import Homeless, stay
from cellagent.link.redialling import RedialWindow
from cellwire.cell.v1 import cell_pb2 as wire

HOURS = 24


def at_home(seconds: int) -> Home:
    settings = wire.CellSettings(homeless_seconds=seconds).SerializeToString()
    return Home(cell="c-1", controllers=("10.0.0.1:7443",), renew_at=float("inf"), settings=settings)


async def stayed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, visits: list[float], seconds: int = HOURS * 3600
) -> int:
    """The visits, an hour each, until the cell gave up; each of `visits` says for how long it held."""
    made = 0

    async def visit(*_: Any) -> float:
        nonlocal made
        held = visits[made] if made < len(visits) else 0.0
        made += 1
        if made > 200:
            raise RuntimeError("it stays for ever")
        return held

    monkeypatch.setattr(link, "_visit", visit)
    monkeypatch.setattr(RedialWindow, "pause", lambda *_: 0.0)
    hours = itertools.count()
    server: Any = None
    with pytest.raises((Homeless, ExceptionGroup)) as end:
        await stay(
            server, CellIdentity(folder), at_home(seconds), lambda: None, RedialWindow(), lambda: next(hours) * 3600.0
        )
    return made if end.type is Homeless else -1


async def test_without_any_controller_for_so_long_it_gives_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert await stayed(monkeypatch, tmp_path, []) == HOURS - 1


async def test_each_connection_begins_the_time_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert await stayed(monkeypatch, tmp_path, [0.0] * 20 + [60.0]) > HOURS + 10


async def test_without_a_limit_it_stays_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert await stayed(monkeypatch, tmp_path, [], seconds=0) == -1
