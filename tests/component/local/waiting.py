"""Waiting for what happens in other processes: there is nothing to be woken by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import Leftovers, leftovers


async def until(come_true: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Look again and again until it is true."""
    async with asyncio.timeout(seconds):
        while True:
            if await come_true():
                return
            await asyncio.sleep(0.02)


async def written(path: Path, seconds: float = 20.0) -> str:
    """The text of a file that somebody else writes, once its last line is whole."""

    async def whole() -> bool:
        return path.exists() and path.read_text().endswith("\n")

    await until(whole, seconds)
    return path.read_text()


async def nothing_left(settings: LocalSettings) -> None:
    """Wait until nothing of this cloud's instances is left."""

    async def nothing() -> bool:
        return await leftovers(settings) == Leftovers()

    await until(nothing, 20)
