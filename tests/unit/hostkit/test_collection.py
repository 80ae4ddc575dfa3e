"""Full collections of garbage stay far apart where they take long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator

import pytest

from hostkit.collection import LONGEST_WAIT, NEVER, THOROUGH_SECONDS, SpacedCollections


@pytest.fixture(autouse=True)
def thresholds() -> Generator[None]:
    """As they were."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.freeze()  # as conftest has it


class _Process:
    """Collects by a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._spaced = SpacedCollections(lambda: self.now)

    def collects(self, generation: int, seconds: float = 0.0, *, really: bool = False) -> None:
        self._spaced("start", {"generation": generation})
        if really:
            gc.collect(generation)
        self.now += seconds
        self._spaced("stop", {"generation": generation})


def may_collect_fully() -> bool:
    return gc.get_threshold()[2] < NEVER


def test_after_a_long_full_collection_the_next_waits_for_fifty_times_as_long() -> None:
    process = _Process()
    process.collects(2, seconds=0.5)
    assert not may_collect_fully()
    process.now += 24
    process.collects(1)
    assert not may_collect_fully()
    process.now += 2
    process.collects(1)
    assert may_collect_fully()


def test_however_long_each_takes_since_more_died_meanwhile_the_next_is_not_put_off_ever_longer() -> None:
    process = _Process()
    waited = 1.0
    for _ in range(10):
        begun = process.now
        process.collects(2, seconds=waited / 10)
        while not may_collect_fully():
            process.now += 1
            process.collects(1)
        waited = process.now - begun
    assert waited <= LONGEST_WAIT * 1.2


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


class _Ring:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.other = self


def test_what_was_found_alive_is_left_out_until_a_thorough_collection_whose_time_comes_much_later() -> None:
    process = _Process()
    ring = _Ring()
    died = weakref.ref(ring)
    process.collects(2, seconds=0.5)  # from now on the ring is left out
    del ring
    process.now += 100
    process.collects(2, seconds=0.1, really=True)
    assert died() is not None
    process.now += THOROUGH_SECONDS
    process.collects(2, seconds=0.1, really=True)
    assert died() is None


def test_what_was_added_since_is_looked_at() -> None:
    process = _Process()
    process.collects(2, seconds=0.5)
    ring = _Ring()
    died = weakref.ref(ring)
    del ring
    process.now += 100
    process.collects(2, really=True)
    assert died() is None
