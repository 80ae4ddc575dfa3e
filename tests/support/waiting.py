"""Waiting for what must come, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(there: Callable[[], object], seconds: float = 20.0) -> None:
    """Until it is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not there():
            await asyncio.sleep(0.03)


async def until_found(there: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
    """The same for what must be asked for."""
    async with asyncio.timeout(seconds):
        while not await there():
            await asyncio.sleep(0.1)
