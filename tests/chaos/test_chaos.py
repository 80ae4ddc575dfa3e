"""A short run of chaos; `make thorough` has the long ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.run import chaos

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(1500)]


async def test_pods_survive_whatever_is_killed_cut_or_frozen_beside_them(tmp_path: Path) -> None:
    run = await chaos(tmp_path, int(os.environ.get("CHAOS_FAULTS", "25")), int(os.environ.get("CHAOS_SEED", "1")))
    assert run.ended, "pods have come and gone meanwhile"
