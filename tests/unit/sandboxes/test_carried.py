"""A cell gives back what was signed for it, and nothing else of what it gives is believed."""

from hypothesis import given
from hypothesis import strategies as st

from controller.model.names import CellName
from controller.sandboxes.carried import Carrier

ours = Carrier(b"k" * 32)
HERE, THERE = CellName("c-1"), CellName("c-2")


@given(st.binary(max_size=200))
def test_a_record_comes_back_as_it_was_signed(record: bytes) -> None:
    assert ours.believed(HERE, "sandbox", ours.signed(HERE, "sandbox", record)) == record


@given(st.binary(max_size=200))
def test_what_was_not_signed_is_not_believed(told: bytes) -> None:
    assert ours.believed(HERE, "sandbox", told) is None


def test_a_record_is_worth_nothing_on_another_cell_under_another_name_or_from_another_authority() -> None:
    signed = ours.signed(HERE, "sandbox", b"record")
    assert ours.believed(THERE, "sandbox", signed) is None
    assert ours.believed(HERE, "0a1b", signed) is None
    assert Carrier(b"K" * 32).believed(HERE, "sandbox", signed) is None
    assert ours.believed(CellName("c-1s"), "andbox", signed) is None, "the parts of what is signed do not run together"


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    signed = bytearray(ours.signed(HERE, "sandbox", b"record"))
    signed[place % len(signed)] ^= change
    assert ours.believed(HERE, "sandbox", bytes(signed)) is None
