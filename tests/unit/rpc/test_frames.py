"""The heads of frames tell what taking them in will cost, wherever the bytes are cut."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.budget import DATA, LARGE, PREFACE, Budget, Frames
from cellwire.rpc.limits import CELL, FROM_CELL, FROM_WORKER

HEADERS, PING = 1, 6
kinds = st.tuples(st.sampled_from([DATA, HEADERS, PING]), st.sampled_from([0, 1, 8, 100, LARGE, LARGE + 1]))


def frame(kind: int, length: int) -> bytes:
    return struct.pack(">I", length)[1:] + bytes([kind, 0, 0, 0, 0, 1]) + bytes(length)


@given(st.lists(kinds, max_size=30), st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_all_bytes_are_passed_and_each_frame_is_counted_once(sent: list[tuple[int, int]], cuts: list[int]) -> None:
    data, frames, at, cost = b"".join(frame(*each) for each in sent), Frames(), 0, 0
    for turn in range(10**6):
        if at == len(data):
            break
        piece = data[at : at + cuts[turn % len(cuts)]]
        end, more = frames.upto(piece, 0, 3)
        assert end > 0
        assert more < 3 + 1 + LARGE  # the last one may reach beyond
        at, cost = at + end, cost + more
    assert cost == sum(
        length < LARGE if kind == DATA else 1 + length // 64  # what a header costs
        for kind, length in sent
    )


def test_large_messages_cost_nothing_and_small_frames_are_kept_to_a_rate() -> None:
    large, small = frame(DATA, 64 << 10), frame(DATA, 1)
    assert Frames().upto(large * 4, 0, 100) == (4 * len(large), 0)
    assert Frames().upto(small * 500, 0, 100) == (100 * len(small) - 1, 100)

    budget = Budget(FROM_CELL, 0.0)
    assert budget.pause(FROM_CELL.frames_burst, 0.0) == 0
    assert FROM_CELL.frames_rate is not None
    assert budget.pause(FROM_CELL.frames_rate, 0.0) == 1
    assert budget.pause(0, 1.0) == 0


def test_what_a_client_sends_before_its_first_frame_is_passed_over() -> None:
    hello, small = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(DATA, 1)
    for cut in range(len(hello)):
        frames = Frames(PREFACE)
        assert frames.upto(hello[:cut], 0, 100) == (cut, 0)
        assert frames.upto(hello[cut:] + small * 3, 0, 100) == (len(hello) - cut + 3 * len(small), 3)


def test_a_peer_may_leave_so_much_of_its_messages_without_ends_and_no_more() -> None:
    most = FROM_WORKER.partial_bytes
    assert most is not None
    budget = Budget(FROM_WORKER, 0.0)
    assert budget.keep(most) == ""
    assert "without their ends" in budget.keep(1)
    assert budget.keep(-most) == ""
    assert budget.keep(most - 1) == ""
    assert Budget(CELL, 0.0).keep(1 << 40) == ""
