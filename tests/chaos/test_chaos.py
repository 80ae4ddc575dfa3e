"""A run of chaos as long as CHAOS_FAULTS says; no part of `make test`, since chance decides what it meets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import workers
from tests.chaos.run import chaos, store_of

FAULTS = int(os.environ.get("CHAOS_FAULTS", "0"))

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"),
    pytest.mark.skipif(not FAULTS, reason="NOT RUN: CHAOS_FAULTS says how many; make thorough has 1,000"),
    pytest.mark.timeout(60 + 30 * FAULTS),
    pytest.mark.waits,
]


async def test_pods_survive_whatever_is_killed_cut_or_frozen_beside_them(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    run = await chaos(tmp_path, FAULTS, seed, os.environ.get("CHAOS_STORE") or store_of(seed))
    assert run.ended, "pods have come and gone meanwhile"


async def test_pods_of_workers_survive_whatever_is_killed_or_frozen_between_them_and_their_controllers(
    tmp_path: Path,
) -> None:
    run = await workers.chaos(tmp_path, FAULTS // 5, int(os.environ.get("CHAOS_SEED", "1")))
    assert run.removed, "pods have come and gone meanwhile"
