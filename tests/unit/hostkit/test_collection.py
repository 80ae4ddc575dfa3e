"""Full collections of garbage stay far apart where they take long."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

from hostkit.collection import NEVER, SpacedCollections


@pytest.fixture(autouse=True)
def thresholds() -> Generator[None]:
    """As they were."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class _Process:
    """Collects by a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._spaced = SpacedCollections(lambda: self.now)

    def collects(self, generation: int, seconds: float = 0.0) -> None:
        self._spaced("start", {"generation": generation})
        self.now += seconds
        self._spaced("stop", {"generation": generation})


def may_collect_fully() -> bool:
    return gc.get_threshold()[2] < NEVER


def test_after_a_long_full_collection_the_next_waits_for_two_hundred_times_as_long() -> None:
    process = _Process()
    process.collects(2, seconds=0.5)
    assert not may_collect_fully()
    process.now += 99
    process.collects(1)
    assert not may_collect_fully()
    process.now += 2
    process.collects(1)
    assert may_collect_fully()


def test_a_short_one_keeps_nobody_waiting() -> None:
    process = _Process()
    process.collects(2, seconds=0.002)
    process.now += 1
    process.collects(0)
    assert may_collect_fully()


def test_what_dies_young_is_collected_all_the_while() -> None:
    young = gc.get_threshold()[:2]
    process = _Process()
    process.collects(2, seconds=5)
    process.collects(1)
    assert gc.get_threshold()[:2] == young
