"""The bearer token of the API and the kubeconfig that holds it: two files of their owner's alone."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import msgspec

from controller.api import certificates
from controller.api.settings import ApiSettings
from hostkit import files

TOKEN, KUBECONFIG = "token", "kubeconfig"


def token_of(folder: Path) -> str:
    """The token, made on first start."""
    path = folder / TOKEN
    if path.exists():
        kept = path.read_text().strip()
        if kept:
            path.chmod(0o600)
            return kept
    token = secrets.token_urlsafe(32)
    _write(path, token + "\n")
    return token


def write(settings: ApiSettings, port: int, token: str) -> Path:
    """Write the kubeconfig; JSON, which is YAML. Returns its path."""
    host = certificates.dialled(settings)
    cluster = {
        "server": f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        "certificate-authority-data": base64.b64encode(settings.authority).decode(),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "chinampa", "cluster": cluster}],
        "users": [{"name": "chinampa", "user": {"token": token}}],
        "contexts": [
            {"name": "chinampa", "context": {"cluster": "chinampa", "user": "chinampa", "namespace": "default"}}
        ],
        "current-context": "chinampa",
    }
    path = settings.folder / KUBECONFIG
    _write(path, msgspec.json.format(msgspec.json.encode(config), indent=2).decode() + "\n")
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.replace(path, text.encode())
