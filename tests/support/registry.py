"""A real registry for tests: Debian's docker-registry, open, with basic auth, or behind a token server of ours."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

from aiohttp import ClientError, ClientSession, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

USER = "gardener"
PASSWORD = "maize and beans"
_HTPASSWD = "gardener:$2b$04$sYQOuAOvs8LpNzKSd3bZ7OeUcG5MjcxrTmMfisuFBFMgPdRIYqF0G"


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has. Not one of those that the kernel gives to whoever dials out, which may take it first."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = lowest - 1 - secrets.randbelow(12000)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


def basic_header() -> str:
    """The Authorization header of the one user."""
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@asynccontextmanager
async def running_registry(
    auth: Literal["basic", "token"] | None = None,
    *,
    folder: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: dict[str, object] | None = None,
) -> AsyncGenerator[str]:
    """A registry; yields its address "host:port", of a free port unless told.

    With `auth`, USER and PASSWORD are let in and nobody else. `tls` is its own setting of that name; it then speaks
    https only.
    """
    async with AsyncExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="images-registry-")))
        address = f"{host}:{port or free_port()}"
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(root / "data")}, "delete": {"enabled": True}},
            "http": {"addr": address},
        }
        if tls is not None:
            config["http"] = {"addr": address, "tls": tls}
        if auth == "basic":
            (root / "htpasswd").write_text(_HTPASSWD + "\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(root / "htpasswd")}}
        if auth == "token":
            realm = await stack.enter_async_context(running_token_server(root / "ca.pem"))
            config["auth"] = {
                "token": {"realm": realm, "service": "test", "issuer": "test", "rootcertbundle": str(root / "ca.pem")}
            }
        (root / "config.yml").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            "docker-registry",
            "serve",
            str(root / "config.yml"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await (_listens(address) if tls is not None else _answers(address))
            yield address
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def _answers(address: str) -> None:
    async with asyncio.timeout(15), ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://{address}/v2/"):
                    return
            except ClientError:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_token_server(certificate: Path) -> AsyncGenerator[str]:
    """A token server in Docker's way; writes the certificate that its tokens are signed with. Yields its realm."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    der = base64.b64encode(cert.public_bytes(serialization.Encoding.DER)).decode()

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    async def token(request: web.Request) -> web.Response:
        form = await request.post() if request.method == "POST" else request.query
        given = request.headers.get("Authorization", "")
        if given and given != basic_header():
            return web.Response(status=401)
        if not given and form.get("refresh_token") != "identity-of-gardener":
            return web.Response(status=401)
        kind, repository, actions = str(form["scope"]).split(":")
        claims = {
            "iss": "test",
            "sub": USER,
            "aud": "test",
            "exp": int(time.time()) + 300,
            "nbf": int(time.time()) - 60,
            "iat": int(time.time()),
            "jti": secrets.token_hex(8),
            "access": [{"type": kind, "name": repository, "actions": actions.split(",")}],
        }
        signed = f"{part({'typ': 'JWT', 'alg': 'RS256', 'x5c': [der]})}.{part(claims)}"
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return web.json_response({"token": f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"})

    app = web.Application()
    app.router.add_route("*", "/token", token)
    async with serving(app) as address:
        yield f"http://{address}/token"


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[str]:
    """An aiohttp application on loopback; yields "host:port"."""
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()
