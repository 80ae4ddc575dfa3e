"""Where the settings are, and what a running controller answers over the socket in its state folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import click

from cellwire.faults import Fault, Kind
from controller.config import Settings, load

DEFAULT = Path("/etc/chinampa/controller.toml")
config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"The controller's config file.  [default: {DEFAULT}, where there is one]",
)


def settings_of(config_path: Path | None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings of a file, or of the usual one where none is named."""
    return load(config_path or (DEFAULT if DEFAULT.exists() else None), flags)


def ask(config_path: Path | None, path: str, method: str = "GET", wanted: Any = None) -> Any:
    """What the controller answers, as decoded JSON. Raises Fault: UNAVAILABLE where none runs, else what it refuses."""
    code, told = asyncio.run(_ask(settings_of(config_path).state / "admin.sock", path, method, wanted))
    if code >= 400:
        raise Fault(Kind.INVALID, "", str(told["error"]))
    return told


async def _ask(socket: Path, path: str, method: str, wanted: Any) -> tuple[int, Any]:
    try:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(10)) as session,
            session.request(method, f"http://controller{path}", json=wanted) as reply,
        ):
            text = await reply.text()
            return reply.status, json.loads(text) if reply.content_type == "application/json" else {"error": text}
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        # aiohttp's own words speak of TLS where there is none.
        told = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        cause = (told.strerror if isinstance(told, OSError) else str(told)) or "it does not answer"
        mend = "start it: chinampa controller --config FILE"
        raise Fault(Kind.UNAVAILABLE, f"controller at {socket}", cause, mend) from error
