"""The bearer token of the API and the kubeconfig that holds it: two files of their owner's alone."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import msgspec

from controller.api import certificates
from controller.api.settings import ApiSettings
from controller.objects.fields import Json
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


def cluster_of(settings: ApiSettings, port: int) -> Json:
    """Where the API is and whom to trust, as a kubeconfig says it."""
    host = certificates.dialled(settings)
    return {
        "server": f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        "certificate-authority-data": base64.b64encode(settings.authority).decode(),
    }


def document(cluster: Json, token: str, namespace: str = "default") -> Json:
    """A kubeconfig with this token."""
    context = {"cluster": "chinampa", "user": "chinampa", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "chinampa", "cluster": cluster}],
        "users": [{"name": "chinampa", "user": {"token": token}}],
        "contexts": [{"name": "chinampa", "context": context}],
        "current-context": "chinampa",
    }


def write(folder: Path, config: Json) -> Path:
    """Write a kubeconfig; JSON, which is YAML. Returns its path."""
    path = folder / KUBECONFIG
    _write(path, msgspec.json.format(msgspec.json.encode(config), indent=2).decode() + "\n")
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.replace(path, text.encode())
