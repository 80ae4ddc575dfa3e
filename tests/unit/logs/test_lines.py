"""What `kubectl logs` shows of a log in CRI format."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.logs import lines, reading
from controller.logs.lines import LineReader, LinesWanted, nanoseconds, parse, shown_time

SECOND = 1_000_000_000
T0 = 1_795_000_000

contents = st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"."))
entries = st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), st.booleans(), contents), max_size=30)
cuts = st.lists(st.integers(0, 2000), max_size=10)
Entries = list[tuple[bytes, bool, bytes]]


def stamp(index: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(T0 + index)).encode() + b".5Z"


def file_of(log: Entries) -> bytes:
    return b"".join(
        b"%s %s %s %s\n" % (stamp(n), stream, b"F" if ends else b"P", content)
        for n, (stream, ends, content) in enumerate(log)
    )


def fed(wanted: LinesWanted, data: bytes, at: list[int]) -> bytes:
    reader = LineReader(wanted)
    borders = sorted({0, len(data), *(cut for cut in at if cut < len(data))})
    shown = b"".join(reader.feed(data[one:two]) for one, two in itertools.pairwise(borders))
    return shown + reader.finish()


@given(entries, cuts)
def test_contents_come_back_whole_however_the_file_is_cut(log: Entries, at: list[int]) -> None:
    expected = b"".join(content + (b"\n" if ends else b"") for _, ends, content in log)
    assert fed(LinesWanted(), file_of(log), at) == expected


@given(entries, cuts, st.integers(-2, 40))
def test_since_a_time(log: Entries, at: list[int], first: int) -> None:
    expected = b"".join(content + (b"\n" if ends else b"") for n, (_, ends, content) in enumerate(log) if n >= first)
    assert fed(LinesWanted(since=(T0 + first) * SECOND + SECOND // 2), file_of(log), at) == expected


def begin_of_tail(read: Callable[[int, int], bytes], size: int, count: int) -> int:
    looking = lines.tail_start(read, size, count)
    while True:
        try:
            next(looking)
        except StopIteration as found:
            return int(found.value)


@given(entries, cuts, st.integers(0, 300))
def test_a_limit_cuts_what_is_shown_at_that_byte(log: Entries, at: list[int], limit: int) -> None:
    whole = fed(LinesWanted(timestamps=True), file_of(log), [])
    assert fed(LinesWanted(timestamps=True, limit_bytes=limit), file_of(log), at) == whole[:limit]


@given(entries, st.integers(0, 12), st.integers(1, 40), st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"")))
@example([(b"stdout", False, b"a"), (b"stdout", True, b"b")], 1, 3, b"")
def test_a_tail_is_the_last_lines_as_a_reader_sees_them(log: Entries, count: int, block: int, torn: bytes) -> None:
    data = file_of(log) + torn

    def read(position: int, length: int) -> bytes:
        assert length > 0
        return data[position : position + length]

    whole, lines.BLOCK = lines.BLOCK, block
    try:
        start = begin_of_tail(read, len(data), count)
    finally:
        lines.BLOCK = whole
    ends, position = [0], 0
    for raw in data.split(b"\n")[:-1]:
        position += len(raw) + 1
        found = parse(raw)
        if found and found.ends:
            ends.append(position)
    begins = [end for end in ends if end < len(data)]
    expected = len(data) if count == 0 else begins[-count] if count <= len(begins) else 0
    assert start == expected


LONG = b"2026-11-20T10:00:00Z stdout F " + b"x" * 3 * lines.LONGEST
AFTER = file_of([(b"stdout", True, b"after")])


def test_a_line_longer_than_any_is_passed_over_and_never_held_whole() -> None:
    reader = LineReader(LinesWanted())
    data, seen = LONG + b"\n" + AFTER, b""
    for start in range(0, len(data), 1000):
        seen += reader.feed(data[start : start + 1000])
        assert len(reader._rest) <= lines.LONGEST
    assert seen + reader.finish() == b"after\n"


def test_a_tail_reads_a_long_line_once_and_counts_it_as_one() -> None:
    data, asked = AFTER + LONG + b"\n" + AFTER, 0

    def read(position: int, length: int) -> bytes:
        nonlocal asked
        asked += length
        return data[position : position + length]

    assert begin_of_tail(read, len(data), 1) == len(data) - len(AFTER)
    assert begin_of_tail(read, len(data), 2) == len(AFTER)
    asked = 0
    assert begin_of_tail(read, len(data), 9) == 0
    assert asked == len(data)


@given(st.binary(max_size=200), cuts)
def test_no_bytes_break_the_reader(data: bytes, at: list[int]) -> None:
    assert fed(LinesWanted(timestamps=True, since=1), data, at) == fed(LinesWanted(timestamps=True, since=1), data, [])
    begin_of_tail(lambda position, length: data[position : position + length], len(data), 3)


def test_a_time_is_shown_once_a_line_and_with_nine_digits() -> None:
    log = b"2026-11-20T10:00:00.5+00:00 stdout P one \n2026-11-20T10:00:01.25Z stdout F two\n"
    assert fed(LinesWanted(timestamps=True), log, []) == b"2026-11-20T10:00:00.500000000Z one two\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1970-01-01T00:00:01Z", SECOND),
        (b"1970-01-01T01:00:00.000000001+01:00", 1),
        (b"2016-10-06T00:17:09.669794202Z", 1475713029669794202),
        (b"2016-10-06 00:17:09Z", None),
        (b"2016-13-06T00:17:09Z", None),
        (b"", None),
    ],
)
def test_times(text: bytes, expected: int | None) -> None:
    assert nanoseconds(text) == expected
    assert expected is None or shown_time(text)[:10] == text[:10]


def test_what_has_no_time_is_not_shown_as_one() -> None:
    log = b"\x1b[2J stdout F lie\n2026-11-20T10:00:00Z stdout F true\n"
    assert fed(LinesWanted(timestamps=True), log, []) == b"2026-11-20T10:00:00.000000000Z true\n"


@pytest.mark.parametrize("raw", [b"", b"a b c", b"t stdout X y", b"t stdin F y", b"t stdout", b"t"])
def test_what_is_no_line_is_passed_over(raw: bytes) -> None:
    assert parse(raw) is None
    assert fed(LinesWanted(), raw + b"\nt stdout F:tag kept\n", []) == b"kept\n"


def test_an_empty_line_is_a_line() -> None:
    assert fed(LinesWanted(), b"t stdout F \nt stdout F\n", []) == b"\n\n"


async def test_a_follower_sees_what_is_added_and_ends_when_the_log_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = [(b"stdout", n % 3 != 0, b"%d" % n) for n in range(50)]
    data = file_of([*log, (b"stdout", True, b"end")])
    path.write_bytes(data[:100])
    over = False

    async def write() -> None:
        nonlocal over
        for position in range(100, len(data), 97):
            with path.open("ab") as file:
                file.write(data[position : position + 97])
            await asyncio.sleep(0.002)
        over = True

    seen = b""
    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        with path.open("rb") as file:
            looking = reading.shown(file.fileno(), LinesWanted(), tail=None, follow=True, complete=lambda: over)
            async for text in looking:
                seen += text
    assert seen == fed(LinesWanted(), data, [])


ODD_LOGS = {
    "one line without end": b"x" * (8 << 20),
    "nothing but ends of lines": b"\n" * (4 << 20),
    "lines that are none": b"2026-11\n" * (1 << 19),
    "lines of the shortest": b"t stdout P\n" * 300_000,
    "words": b"a " * (2 << 20),
}


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "growing"])
@pytest.mark.parametrize("tail", [None, 5], ids=["all", "tail"])
@pytest.mark.parametrize("data", ODD_LOGS.values(), ids=ODD_LOGS.keys())
async def test_no_log_holds_the_loop_for_long(tmp_path: Path, data: bytes, tail: int | None, complete: bool) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(data)
    longest = 0.0

    async def look() -> None:
        with path.open("rb") as file:
            wanted = LinesWanted(since=1)
            looking = reading.shown(file.fileno(), wanted, tail=tail, follow=False, complete=lambda: complete)
            async for _ in looking:
                await asyncio.sleep(0)

    looking = look().__await__()
    while True:
        # What the processor does in one turn of the loop: what else the machine does is not counted.
        begun = time.thread_time()
        try:
            next(looking)
        except StopIteration:
            break
        finally:
            longest = max(longest, time.thread_time() - begun)
    # Ten times what it may be: a busy machine's caches are cold. What this is against took minutes.
    assert longest < 0.5


async def test_a_tail_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(file_of([(b"stdout", True, b"%d" % n) for n in range(20_000)]))
    with path.open("rb") as file:
        looking = reading.shown(file.fileno(), LinesWanted(), tail=2, follow=False, complete=lambda: True)
        seen = [text async for text in looking]
    assert b"".join(seen) == b"19998\n19999\n"


@pytest.mark.parametrize("tail", [None, 1, 3], ids=["all", "one", "three"])
async def test_of_a_line_whose_end_is_still_to_come_nothing_is_shown(tmp_path: Path, tail: int | None) -> None:
    path = tmp_path / "0.log"
    data = file_of([(b"stdout", True, b"line %d" % n) for n in range(5)])
    last = data[:-1].rindex(b"\n") + 1

    async def seen(upto: int, *, complete: bool) -> list[bytes]:
        path.write_bytes(data[:upto])
        with path.open("rb") as file:
            looking = reading.shown(file.fileno(), LinesWanted(), tail=tail, follow=False, complete=lambda: complete)
            return b"".join([text async for text in looking]).splitlines()

    begun = [b"line %d" % n for n in range(4)][-tail if tail else 0 :]
    for upto in range(last, len(data)):
        assert await seen(upto, complete=False) == begun
    every = [b"line %d" % n for n in range(5)][-tail if tail else 0 :]
    assert await seen(len(data), complete=False) == every
    assert await seen(len(data) - 1, complete=True) == every
