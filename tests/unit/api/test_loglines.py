import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.loglines import Reader, start_of_tail
from controller.api.pod_logs import CHUNK

LOG = (
    b"2026-01-01T00:00:00.000000001Z stdout F one\n"
    b"2026-01-01T00:00:01.5Z stderr P tw\n"
    b"2026-01-01T00:00:01.6Z stderr F o\n"
    b"2026-01-01T00:00:02+00:00 stdout F three words here\n"
)


@given(st.lists(st.integers(0, len(LOG)), max_size=6))
def test_a_log_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    reader, at, seen = Reader(), 0, b""
    for cut in [*sorted(cuts), len(LOG)]:
        seen += reader.feed(LOG[at:cut])
        at = cut
    assert seen == b"one\ntwo\nthree words here\n"


def test_timestamps_stand_before_lines_and_not_before_pieces() -> None:
    seen = Reader(timestamps=True).feed(LOG)
    assert seen.splitlines()[1] == b"2026-01-01T00:00:01.5Z two"


def test_timestamps_of_universal_time_end_as_a_kubelet_ends_them() -> None:
    seen = Reader(timestamps=True).feed(b"2026-01-01T00:00:01.500000000+00:00 stdout F one\n")
    assert seen == b"2026-01-01T00:00:01.500000000Z one\n"


def test_since_leaves_out_what_was_before() -> None:
    assert Reader(since=1767225602.0).feed(LOG) == b"three words here\n"


def test_the_limit_cuts_in_mid_line() -> None:
    reader = Reader(limit=5)
    assert reader.feed(LOG) == b"one\nt"
    assert reader.full


@pytest.mark.parametrize(("lines", "rest"), [(0, 0), (1, 1), (2, 2), (9, 4)])
def test_a_tail_begins_at_a_line(lines: int, rest: int) -> None:
    file = io.BytesIO(LOG)
    file.seek(start_of_tail(file, lines))
    assert len(file.read().splitlines()) == rest


def test_a_tail_of_many_blocks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%07d\n" % number for number in range(40_000)))
    with path.open("rb") as file:
        file.seek(start_of_tail(file, 30_000))
        assert file.readline() == b"0010000\n"


@pytest.mark.parametrize(
    "odd", [b"x" * (8 << 20), b"\n" * (4 << 20), b"2026-11\n" * (1 << 19)], ids=["one", "none", "short"]
)
def test_a_log_that_no_container_has_written_costs_no_more_than_its_bytes(odd: bytes) -> None:
    reader, longest, seen = Reader(), 0.0, b""
    data = LOG + odd + b"\n" + LOG
    for at in range(0, len(data), CHUNK):
        begun = time.thread_time()
        seen += reader.feed(data[at : at + CHUNK])
        longest = max(longest, time.thread_time() - begun)
    assert seen == b"one\ntwo\nthree words here\n" * 2
    # Ten times what it may be: a busy machine's caches are cold. What this is against took minutes.
    assert longest < 0.5


def test_what_of_a_line_that_is_too_long_was_read_is_not_kept() -> None:
    reader = Reader()
    for _ in range(40):
        assert reader.feed(b"x" * CHUNK) == b""
    assert reader.feed(b"x\n" + LOG) == b"one\ntwo\nthree words here\n"
