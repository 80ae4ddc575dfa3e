"""Where the settings are, and what a running controller answers over the socket in its state folder.

The standard library's HTTP is enough for one question to one socket; importing aiohttp takes longer than most answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from typing_extensions import Buffer

from cellwire.faults import Fault, Kind
from controller.config import Settings, load

# Seconds for each step of the way, and for all of it.
PATIENCE, WHOLE = 10.0, 30.0
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


def place(*names: str) -> str:
    """The path of what has these names, whatever letters they are of."""
    return "".join(f"/{quote(name, safe='', errors='surrogateescape')}" for name in names)


def ask(config_path: Path | None, path: str, method: str = "GET", wanted: Any = None) -> Any:
    """What the controller answers, as decoded JSON. Raises Fault: UNAVAILABLE where none runs or is done within
    `WHOLE` seconds, else what it refuses.
    """
    code, told = _asked(settings_of(config_path).state / "admin.sock", path, method, wanted)
    if code >= 400:
        raise Fault(Kind.INVALID, "", str(told["error"]))
    return told


class _BoundedSocket(socket.socket):
    """A socket whose peer has so long for all that it sends; a limit on each read never ends one that trickles."""

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self._ends = time.monotonic() + WHOLE

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(min(PATIENCE, left))
        return super().recv_into(buffer, nbytes, flags)


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("controller", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = _BoundedSocket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _asked(socket_path: Path, path: str, method: str, wanted: Any) -> tuple[int, Any]:
    body = None if wanted is None else json.dumps(wanted)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        with contextlib.closing(_AdminConnection(socket_path)) as connection:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
            is_json = reply.headers.get_content_type() == "application/json"
            return reply.status, json.loads(text) if is_json else {"error": text}
    except (http.client.HTTPException, OSError) as error:
        cause = _cause(error)
        mend = "start it: chinampa controller --config FILE"
        raise Fault(Kind.UNAVAILABLE, f"controller at {socket_path}", cause, mend) from error


def _cause(error: http.client.HTTPException | OSError) -> str:
    if isinstance(error, (TimeoutError, http.client.RemoteDisconnected)):
        return "it does not answer"
    return (isinstance(error, OSError) and error.strerror) or str(error) or "it does not answer"
