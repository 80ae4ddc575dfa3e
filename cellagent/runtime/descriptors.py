"""Waiting for one descriptor of ours to be readable or writable, without a stream around it."""

from __future__ import annotations

import asyncio


async def readable(fd: int) -> None:
    """Return once `fd` can be read, or is at its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Return once `fd` takes bytes again, or is broken."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
