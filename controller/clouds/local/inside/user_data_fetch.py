"""Fetches the user-data from the metadata service, with a session token. Plain sockets; standard library only."""

from __future__ import annotations

import socket
import time

_SERVICE = ("169.254.169.254", 80)
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


def user_data() -> bytes:
    """The instance's user-data. Waits as long as it takes: the controller may be away for a while."""
    pause = _FIRST_PAUSE
    while True:
        try:
            token = _ask("PUT /latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300")
            return _ask("GET /latest/user-data", f"X-aws-ec2-metadata-token: {token.decode()}")
        except OSError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _ask(request: str, header: str) -> bytes:
    with socket.create_connection(_SERVICE, timeout=5) as connection:
        connection.sendall(
            f"{request} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n"
            f"Content-Length: 0\r\n{header}\r\n\r\n".encode()
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise OSError(f"{request}: the metadata service answered {head[:80]!r}")
    return body
