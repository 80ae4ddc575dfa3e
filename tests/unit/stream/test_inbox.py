"""Bytes between two tasks: bounded, in order, with an end."""

from __future__ import annotations

import asyncio

import pytest

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
    async with asyncio.timeout(1):
        await inbox.put(b"12345")
