"""What is written in pieces goes in messages of a bounded size, in order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.limits import FROM_CELL
from cellwire.stream.service import PIECE, messages

SIZES = st.lists(st.sampled_from([0, 1, PIECE // 3, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5]), max_size=6)


@given(SIZES)
def test_pieces_fill_messages_in_order(sizes: list[int]) -> None:
    pieces = [bytes([65 + at]) * size for at, size in enumerate(sizes)]
    found = messages(pieces)
    assert b"".join(b"".join(message) for message in found) == b"".join(pieces)
    assert all(sum(map(len, message)) <= PIECE for message in found)
    assert all(sum(map(len, one)) + len(another[0]) > PIECE for one, another in pairwise(found))


def test_a_controller_takes_the_longest_message_of_a_cell() -> None:
    assert FROM_CELL.message_bytes >= PIECE + 8
