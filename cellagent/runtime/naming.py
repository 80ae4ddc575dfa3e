"""The name server of a cell's pods, for as long as the agent runs."""

from __future__ import annotations

import asyncio
import logging

from cellagent.network import cell, forwarder
from cellagent.network.holding import Holding
from cellagent.runtime.sandbox import RESOLV_CONFS
from cellagent.runtime.settings import RuntimeSettings

log = logging.getLogger(__name__)
AGAIN_SECONDS = 30.0


def holding(settings: RuntimeSettings) -> Holding | None:
    """What this agent can hold of Services; None where it is in no cell."""
    return Holding(settings.pod_address.partition("/")[0]) if settings.pod_address else None


async def resolve(held: Holding) -> None:
    """Answer the pods' questions, for ever."""

    def servers() -> tuple[str, ...]:
        return (held.name_server,) if held.name_server else forwarder.of_resolv_conf(RESOLV_CONFS)

    while True:
        try:
            async with forwarder.answering(cell.GATEWAY, held.pod, held.ask, servers):
                await asyncio.Event().wait()
        except OSError as error:
            log.warning("pods have no name server at %s: %s", cell.GATEWAY, error)
        await asyncio.sleep(AGAIN_SECONDS)
