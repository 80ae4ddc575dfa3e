"""A look at every fuzz target: FUZZ_SECONDS makes it longer, FUZZ_START begins elsewhere. See `__main__` too."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.mutation import run
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0.3"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(SECONDS + 60)
def test_nothing_that_is_sent_breaks_a_reader(name: str) -> None:
    assert run(TARGETS[name], SECONDS, int(os.environ.get("FUZZ_START", "0"))) > 0


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_stood(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].attack(seed)
