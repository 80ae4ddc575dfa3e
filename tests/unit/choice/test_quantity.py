"""Quantities mean what they mean to Kubernetes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.choice.quantity import SUFFIXES, mebibytes, millis, quantity


@pytest.mark.parametrize(
    ("text", "expected"), [("100m", 100), ("0.5", 500), ("2", 2000), (1, 1000), ("1e1", 10_000), ("1n", 1), (".5", 500)]
)
def test_cpu_is_read_in_thousandths_rounded_up(text: object, expected: int) -> None:
    assert millis(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("64Mi", 64), ("1Gi", 1024), ("1M", 1), ("1048577", 2), ("128974848", 123)]
)
def test_memory_is_read_in_mebibytes_rounded_up(text: object, expected: int) -> None:
    assert mebibytes(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1 Mi", "-1", "1e999", "1MiB", None, True, [], "1" * 40, "9E9E"])
def test_what_is_no_quantity_is_refused_in_words(text: object) -> None:
    with pytest.raises(Fault, match="quantity"):
        quantity(text)


@given(number=st.integers(0, 10**6), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_every_suffix_multiplies_exactly(number: int, suffix: str) -> None:
    if number * SUFFIXES[suffix] < 2**63:
        assert quantity(f"{number}{suffix}") == number * SUFFIXES[suffix]


@given(text=st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_fault(text: str) -> None:
    try:
        assert quantity(text) >= 0
    except Fault as fault:
        assert fault.cause
