"""A fleet whose passes follow one another without a pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.fleet import reconciler, work_item
from tests.support.fleet_world import FleetWorld


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PASS_SECONDS", 0.05)
    monkeypatch.setattr(reconciler, "AT_ONCE", 1)
    monkeypatch.setattr(reconciler, "RESYNC_SOON", 0.01)
    monkeypatch.setattr(work_item, "FIRST_WAIT", 0.05)


@pytest.fixture
def world(tmp_path: Path) -> FleetWorld:
    return FleetWorld(tmp_path)
