"""Asks a running controller over the socket in its state folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import click

from cellwire.faults import Fault, Kind
from controller.config import load

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/chinampa/controller.toml"),
    show_default=True,
    help="The controller's config file.",
)


def ask(config_path: Path, path: str) -> Any:
    """What the controller answers, as decoded JSON. Raises Fault UNAVAILABLE where none runs."""
    socket = Path(load(config_path).text("state")) / "admin.sock"
    return asyncio.run(_ask(socket, path))


async def _ask(socket: Path, path: str) -> Any:
    try:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(10)) as session,
            session.get(f"http://controller{path}") as reply,
        ):
            return json.loads(await reply.text())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Fault(
            Kind.UNAVAILABLE, f"controller at {socket}", str(error), "start it: chinampa controller --config FILE"
        ) from error
