"""Keeps the networks of a cell's pods as they were made, whoever changes the cell's: networkd, a cloud's scripts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cellagent.network import watch
from cellwire.faults import Fault

log = logging.getLogger(__name__)
# What takes one thing away takes more in the same moment; and two that fight over an address must not fill a core.
PAUSE_SECONDS = 0.2
AGAIN_SECONDS = 5.0


async def keep(restore: Callable[[], Awaitable[None]]) -> None:
    """For ever: at the start, and whenever the kernel tells of a loss, have it put right."""
    lost = asyncio.Event()
    lost.set()  # somebody may have been quicker than this agent
    with watch.losses(lost.set):
        while True:
            await lost.wait()
            lost.clear()
            try:
                await restore()
            except Fault as fault:
                log.warning("a pod's network could not be put right: %s", fault)
                lost.set()
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)
