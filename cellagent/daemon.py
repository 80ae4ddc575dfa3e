"""The agent's two lives: alone on a unix socket, or as a cell that dialled home. The only file that knows every room."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cellagent.images import service as images
from cellagent.images.messages import RegistrySettings
from cellagent.runtime import service as runtime
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault, Kind
from cellwire.rpc.serve import serving

log = logging.getLogger(__name__)


async def serve(socket: Path, settings: RuntimeSettings, *, mirrors: Sequence[str] = ()) -> None:
    """CRI on a unix socket until SIGTERM or SIGINT. Containers live on."""
    image_settings = images.ImageSettings(root=settings.root / "images", registries=registries(mirrors))
    async with (
        images.running(image_settings) as image_room,
        runtime.running(settings, image_room.store) as room,
        serving([room.service, image_room.service], socket),
        until_told() as told,
    ):
        log.info("serving CRI on %s", socket)
        await told.wait()


def registries(mirrors: Sequence[str]) -> tuple[RegistrySettings, ...]:
    """Settings of "host=url" pairs; several for one host are tried in order."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in mirrors:
        host, mark, url = pair.partition("=")
        if not mark or not host or "://" not in url:
            raise Fault(Kind.INVALID, f"mirror {pair}", "it is not of the form host=url")
        found[host] = (*found.get(host, ()), url)
    return tuple(RegistrySettings(host=host, mirrors=urls) for host, urls in found.items())


@asynccontextmanager
async def until_told() -> AsyncGenerator[asyncio.Event]:
    """An event for the first SIGTERM or SIGINT; the second ends the process at once."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def first() -> None:
        told.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
