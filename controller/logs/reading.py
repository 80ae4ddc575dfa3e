"""Reads a copied log file for `kubectl logs`, to its end or for as long as it grows. `lines` decides what is shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable

from controller.logs.lines import LineReader, LinesWanted, tail_start
from hostkit import files

# Nothing else has a turn while one is looked through, whatever is in it.
BLOCK = 32 << 10
# How soon a follower sees a new line; a look costs one read of nothing.
LOOK = 0.1


async def shown(
    descriptor: int, wanted: LinesWanted, *, tail: int | None, follow: bool, complete: Callable[[], bool]
) -> AsyncGenerator[bytes]:
    """What is wanted of an open file, in blocks, from its first byte that was not given up. A follower stays until
    `complete()` and all is shown. Of a line whose end is still to come nothing is shown: what is here ends where the
    last piece of the copy did.
    """
    reader = LineReader(wanted)
    position = files.first_data(descriptor)
    if tail is not None:
        position = await _tail_start(descriptor, tail, position, complete=complete())
    over = False
    while not reader.full:
        over = complete()  # asked before reading: what is complete then is complete here
        data = os.pread(descriptor, BLOCK, position)
        if data.startswith(b"\0") and (begins := files.first_data(descriptor)) > position:
            # What was to be read next has been given up meanwhile.
            reader.skip()
            position = begins
            continue
        position += len(data)
        if text := reader.feed(data) if data else b"":
            yield text
        if data:
            await asyncio.sleep(0)  # a long log must not hold up everybody else
        elif over or not follow:
            break
        else:
            await asyncio.sleep(LOOK)
    if over and not reader.full and (text := reader.finish()):
        yield text


async def _tail_start(descriptor: int, lines: int, begins: int, *, complete: bool) -> int:
    """On the loop, a block at a time: beside a thread that never waits, everybody waits for the interpreter itself."""
    size = os.fstat(descriptor).st_size
    if not complete:
        size = await _last_end(descriptor, size, begins)
    looking = tail_start(lambda at, length: os.pread(descriptor, length, at), size, lines, begins)
    while True:
        try:
            next(looking)
        except StopIteration as found:
            return int(found.value)
        await asyncio.sleep(0)


async def _last_end(descriptor: int, size: int, begins: int) -> int:
    """Where the last line before `size` ends that has ended."""
    while size > begins:
        start = max(begins, size - BLOCK)
        if found := os.pread(descriptor, size - start, start).rfind(b"\n") + 1:
            return start + found
        size = start
        await asyncio.sleep(0)
    return begins
