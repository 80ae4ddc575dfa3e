"""Bytes between two tasks: bounded, in order, with an end."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.stream.inbox import Aborted, Inbox


async def test_pieces_leave_joined_and_in_order() -> None:
    inbox = Inbox()
    await inbox.put(b"a")
    await inbox.put(memoryview(b"bc"))
    assert await inbox.take() == b"abc"
    await inbox.put(memoryview(b"d"))
    inbox.end()
    assert await inbox.take() == b"d"
    assert await inbox.take() == b""
    await inbox.put(b"late")
    assert await inbox.take() == b""


async def test_a_full_inbox_holds_its_writer_until_it_is_read() -> None:
    inbox = Inbox(limit=4)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(inbox.put(b"12345"))
        await asyncio.sleep(0)
        assert not writing.done()
        assert await inbox.take() == b"12345"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert writing.done()


async def test_an_abort_wakes_both_ends() -> None:
    inbox = Inbox(limit=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(inbox.put(b"12345"))
        await asyncio.sleep(0)
        inbox.abort()
    with pytest.raises(Aborted):
        await inbox.take()


async def test_who_discards_holds_no_writer() -> None:
    inbox = Inbox(limit=1)
    inbox.discard()
    async with asyncio.timeout(20):
        await inbox.put(b"12345")


@given(st.lists(st.binary(max_size=3) | st.integers(1, 20_000).map(bytes), max_size=30), st.integers(1, 5))
async def test_pieces_of_all_sizes_leave_in_order(pieces: list[bytes], every: int) -> None:
    inbox, came = Inbox(limit=1 << 30), b""
    for number, piece in enumerate(pieces):
        await inbox.put(memoryview(b"x" * 100_000 + piece)[100_000:] if number % 2 else piece)
        if piece and number % every == 0:
            came += await inbox.take()
    inbox.end()
    assert came + await inbox.take() == b"".join(pieces)


async def test_large_pieces_leave_as_they_came_and_small_ones_together() -> None:
    inbox, large = Inbox(), bytes(20_000)
    for piece in (b"a", b"b", large, memoryview(large), b"c"):
        await inbox.put(piece)
    inbox.end()
    pieces = await inbox.pieces()
    assert pieces == [b"ab", large, large, b"c"]
    assert pieces[1] is large
    assert await inbox.pieces() == []


@contextmanager
def at_most(size: int) -> Generator[None]:
    """Memory that is held at the end and was not at the beginning."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 5000])
async def test_pieces_do_not_keep_all_that_they_were_received_with(size: int) -> None:
    inbox = Inbox()
    with at_most(2 << 20):
        for _ in range(40):
            received = bytes(256 * 1024)
            await inbox.put(memoryview(received)[:size])
            del received
        assert len(await inbox.take()) == 40 * size


async def test_many_small_pieces_cost_no_more_than_they_hold() -> None:
    inbox = Inbox()
    with at_most(1 << 20):
        for _ in range(200_000):
            await inbox.put(b"x")
