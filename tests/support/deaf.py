"""An address that takes no connection and refuses none, as one behind a firewall."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator


@contextlib.contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    """A listener whose queue is full: the kernel drops whatever else comes. "host:port"."""
    with socket.create_server((host, port), backlog=0) as listening, contextlib.ExitStack() as held:
        for _ in range(4):
            one = held.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"{host}:{listening.getsockname()[1]}"
