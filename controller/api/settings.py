"""What the API server is told."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and with which certificate; `folder` receives the token and the kubeconfig, both 0600.

    `authority` is the certificate (PEM) that kubectl is to trust; `server_name` a name of the server's certificate.
    """

    folder: Path
    certificate: Path
    key: Path
    authority: bytes
    host: str = "127.0.0.1"
    port: int = 0
    server_name: str = "localhost"
    bookmark_seconds: float = 60.0
