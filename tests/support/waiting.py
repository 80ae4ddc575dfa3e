"""Waiting for what must come, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")


async def until(there: Callable[[], object], seconds: float = 120.0) -> None:
    """Until it is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not there():
            await asyncio.sleep(0.03)


async def until_found(there: Callable[[], Awaitable[Found]], seconds: float = 120.0) -> Found:
    """The same for what must be asked for; the true answer."""
    async with asyncio.timeout(seconds):
        while not (found := await there()):
            await asyncio.sleep(0.1)
        return found
