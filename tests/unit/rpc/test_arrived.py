"""What has arrived of a stream is read as sent, however it was cut, and small frames take little room."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.arrived import TOGETHER, Arrived


@given(st.lists(st.binary(max_size=20), max_size=20), st.data())
def test_bytes_come_whole_and_the_window_is_given_back_for_each_once(frames: list[bytes], data: st.DataObject) -> None:
    given_back = kept = 0

    def acknowledge(size: int) -> None:
        nonlocal given_back
        given_back += size

    def keep(more: int) -> None:
        nonlocal kept
        kept += more
        assert kept >= 0

    async def read() -> None:
        arrived = Arrived(acknowledge, keep)
        for frame in frames:
            arrived.add(frame, len(frame) + 1)  # a byte of padding
        left = b"".join(frames)
        while left and data.draw(st.booleans()):
            size = data.draw(st.integers(0, len(left)))
            assert await arrived.read(size) == left[:size]
            left = left[size:]
        assert given_back + arrived.unacked_size() == sum(len(frame) + 1 for frame in frames)
        assert kept == 0

    asyncio.run(read())


async def test_a_reader_waits_for_what_has_not_come_and_an_empty_frame_is_no_end() -> None:
    arrived = Arrived(lambda _: None, lambda _: None)
    arrived.add(b"a", 1)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(arrived.read(3))
        for frame in (b"", b"b", b"", b"c"):
            await asyncio.sleep(0)
            assert not reading.done()
            arrived.add(frame, len(frame))
    assert reading.result() == b"abc"


async def test_an_end_within_a_message_is_told_from_one_between_two() -> None:
    arrived = Arrived(lambda _: None, lambda _: None)
    arrived.add(b"ab", 2)
    arrived.eof()
    with pytest.raises(EOFError):
        await arrived.read(3)
    assert await arrived.read(2) == b"ab"
    assert await arrived.read(5) == b""


def test_frames_of_a_byte_take_little_more_room_than_their_bytes() -> None:
    tracemalloc.start()
    try:
        arrived = Arrived(lambda _: None, lambda _: None)
        for _ in range(4 * TOGETHER):
            arrived.add(b"x", 1)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 16 * TOGETHER


@given(st.lists(st.binary(max_size=9).map(lambda data: data * 5000), max_size=9), st.data())
def test_pieces_are_what_is_read_and_stay_when_more_comes(frames: list[bytes], data: st.DataObject) -> None:
    async def read() -> None:
        arrived, taken = Arrived(lambda _: None, lambda _: None), list[bytes | memoryview]()
        held = 0
        for frame in (*frames, b"ab", b"c"):
            arrived.add(frame, len(frame))
            held += len(frame)
            size = data.draw(st.integers(0, held))
            assert len(await arrived.front(min(3, size), size)) == min(3, size)
            taken += await arrived.pieces(size)
            held -= size
        taken += await arrived.pieces(held)
        assert b"".join(taken) == b"".join(frames) + b"abc"

    asyncio.run(read())
