"""Repair of pods' networks: keeps them as they were made for as long as the agent runs, whoever changes the cell's
(networkd, a cloud's scripts), and answers their questions for names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from cellagent.network import cell_network, forwarder, netlink_watch
from cellagent.network.holding import Holding
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault

log = logging.getLogger(__name__)
# Where a machine has a resolver of its own, the second tells which servers that asks.
RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# What takes one thing away takes more in the same moment; and two that fight over an address must not fill a core.
PAUSE_SECONDS = 0.2
AGAIN_SECONDS = 5.0
NAMES_AGAIN_SECONDS = 30.0


async def keep(restore: Callable[[], Awaitable[None]]) -> None:
    """For ever: at the start, and whenever the kernel tells of a loss, have it put right."""
    lost = asyncio.Event()
    lost.set()  # somebody may have been quicker than this agent
    with netlink_watch.losses(lost.set):
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


def holding(settings: RuntimeSettings) -> Holding | None:
    """What this agent can hold of Services; None where it is in no cell."""
    if not settings.pod_address:
        return None
    return Holding(settings.pod_address.partition("/")[0], settings.pod_address6.partition("/")[0])


async def resolve(held: Holding) -> None:
    """Answer the pods' questions, for ever."""

    def servers() -> tuple[str, ...]:
        return (held.name_server,) if held.name_server else forwarder.of_resolv_conf(RESOLV_CONFS)

    while True:
        try:
            async with forwarder.answering(cell_network.GATEWAY, held.pod, held.ask, servers):
                await asyncio.Event().wait()
        except OSError as error:
            log.warning("pods have no name server at %s: %s", cell_network.GATEWAY, error)
        await asyncio.sleep(NAMES_AGAIN_SECONDS)
