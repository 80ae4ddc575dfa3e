"""A kubeconfig: where the API server is, whom to trust, and who we are, as a kubelet has it.

Certificates, tokens, files of tokens that change, and programs that answer with a credential (client-go's `exec`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import json
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from cellwire.faults import Fault, Kind
from hostkit import programs

Json = dict[str, Any]
NODE_USER = "system:node:"
EXEC_SECONDS = 60.0
# A file of a token is replaced before it expires; so much later is soon enough.
TOKEN_SECONDS = 60.0


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What a kubeconfig says. PEM as bytes; paths are of files that may be replaced."""

    server: str
    authority: bytes = b""
    insecure: bool = False
    server_name: str = ""
    certificate: Path | bytes = b""
    key: Path | bytes = b""
    token: str = ""
    token_file: Path | None = None
    program: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    version: str = ""


def read(path: Path) -> Access:
    """The present context of a kubeconfig. Raises Fault naming the file and what it lacks."""
    thing = f"kubeconfig {path}"
    try:
        found = yaml.safe_load(path.read_text())
        context = _named(found, "contexts", "context", found["current-context"])
        cluster = _named(found, "clusters", "cluster", context["cluster"])
        user = _named(found, "users", "user", context.get("user", ""))
        server = str(cluster["server"])
    except OSError as error:
        raise Fault(Kind.INVALID, thing, str(error.strerror), "name the node's own in kubernetes.kubeconfig") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise Fault(Kind.INVALID, thing, f"it cannot be read: {error}") from error
    folder = path.parent
    run: Json = user.get("exec") or {}
    try:
        return Access(
            server=server.rstrip("/"),
            authority=_bytes(cluster, "certificate-authority", folder),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            server_name=str(cluster.get("tls-server-name") or ""),
            certificate=_where(user, "client-certificate", folder),
            key=_where(user, "client-key", folder),
            token=str(user.get("token") or ""),
            token_file=folder / user["tokenFile"] if user.get("tokenFile") else None,
            program=(str(run["command"]), *map(str, run.get("args") or ())) if run.get("command") else (),
            environment={str(one["name"]): str(one["value"]) for one in run.get("env") or ()},
            version=str(run.get("apiVersion") or ""),
        )
    except (OSError, binascii.Error, KeyError, TypeError) as error:
        raise Fault(Kind.INVALID, thing, f"it cannot be read: {error}") from error


def context(access: Access) -> ssl.SSLContext | None:
    """TLS as the kubeconfig says; None for plain http. Reads the certificate anew. Raises Fault."""
    if not access.server.startswith("https"):
        return None
    try:
        made = ssl.create_default_context(cadata=access.authority.decode() or None)
        if access.insecure:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if access.certificate:
            _load(made, access)
    except (OSError, ValueError) as error:
        raise Fault(Kind.INVALID, f"certificate for {access.server}", str(error)) from error
    return made


def node_of(access: Access) -> str:
    """The node that the client's certificate names; "" where it names none."""
    try:
        pem = access.certificate.read_bytes() if isinstance(access.certificate, Path) else access.certificate
        names = x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (OSError, ValueError):
        return ""
    name = str(names[0].value) if names else ""
    return name.removeprefix(NODE_USER) if name.startswith(NODE_USER) else ""


class BearerToken:
    """The bearer token of now."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._token = access.token
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def now(self) -> str:
        """It; "" where a certificate is enough. Raises Fault."""
        access = self._access
        if not (access.program or access.token_file):
            return self._token
        async with self._lock:
            if time.time() < self._until:
                return self._token
            if access.token_file is not None:
                try:
                    self._token = access.token_file.read_text().strip()
                except OSError as error:
                    raise Fault(Kind.DENIED, f"token {access.token_file}", str(error.strerror)) from error
                self._until = time.time() + TOKEN_SECONDS
            else:
                self._token, self._until = await _asked(access)
            return self._token

    def refused(self) -> None:
        """The server does not know the token any more."""
        self._until = 0.0


async def _asked(access: Access) -> tuple[str, float]:
    thing = f"credential of {access.program[0]}"
    info = {"kind": "ExecCredential", "apiVersion": access.version, "spec": {"interactive": False}}
    environment = {**os.environ, **access.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    done = await programs.run(access.program, env=environment, deadline=EXEC_SECONDS)
    if done.returncode:
        raise Fault(Kind.DENIED, thing, done.words[-500:])
    try:
        status: Json = json.loads(done.stdout)["status"]
        until = str(status.get("expirationTimestamp") or "")
        expires = datetime.datetime.fromisoformat(until).timestamp() if until else time.time() + 600
        return str(status["token"]), expires - 30
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(Kind.DENIED, thing, f"it answered with no token: {error}") from error


def _load(made: ssl.SSLContext, access: Access) -> None:
    if isinstance(access.certificate, Path):
        made.load_cert_chain(access.certificate, access.key if isinstance(access.key, Path) else None)
        return
    # OpenSSL reads files only.
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "client.pem")
        pem.touch(mode=0o600)
        pem.write_bytes(access.certificate + b"\n" + (access.key if isinstance(access.key, bytes) else b""))
        made.load_cert_chain(pem)


def _named(found: Mapping[str, Any], many: str, one: str, name: str) -> Json:
    for entry in cast("list[Json]", found.get(many) or []):
        if entry.get("name") == name:
            return entry.get(one) or {}
    return {}


def _bytes(found: Json, name: str, folder: Path) -> bytes:
    if found.get(f"{name}-data"):
        return base64.b64decode(found[f"{name}-data"])
    return (folder / found[name]).read_bytes() if found.get(name) else b""


def _where(found: Json, name: str, folder: Path) -> Path | bytes:
    if found.get(f"{name}-data"):
        return base64.b64decode(found[f"{name}-data"])
    return folder / found[name] if found.get(name) else b""
