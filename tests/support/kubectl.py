"""Stand-in for an API server with one running pod, for which kubectl may exec, attach and forward ports."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cellwire.stream.session import Backend, SessionRequest
from cellwire.stream.streaming_server import serve_port_forward, serve_session

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {"containers": [{"name": "main", "image": "i", "stdin": True}]},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
CORE = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}
RESOURCES = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [CORE]}


def binary() -> Path | None:
    """A kubectl of this machine: $KUBE_BIN, or the path."""
    folder = os.environ.get("KUBE_BIN")
    found = shutil.which("kubectl", path=f"{folder}:{os.environ['PATH']}" if folder else None)
    return Path(found) if found else None


class PodApi:
    """Serves the pod; remembers in which dialects it was asked."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.dialects: list[str] = []
        self.base = ""

    async def session(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        query = request.query
        flags = {name: query.get(name) in {"true", "1"} for name in ("tty", "stdin", "stdout", "stderr")}
        wanted = SessionRequest("web/main", tuple(query.getall("command", [])), **flags)
        run = self.backend.exec if wanted.command else self.backend.attach
        return await serve_session(request, lambda: run(wanted), wanted)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        ports = [int(port) for port in request.query.getall("ports", [])]
        return await serve_port_forward(request, partial(self.backend.port_forward, "web"), ports)

    def _note(self, request: web.Request) -> None:
        self.dialects.append(request.headers.get("Sec-WebSocket-Protocol") or request.headers.get("Upgrade", ""))


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS context with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def pod_api(backend: Backend, tls: ssl.SSLContext | None = None) -> AsyncGenerator[PodApi]:
    api = PodApi(backend)
    answers: dict[str, object] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
        "/api/v1": RESOURCES,
        "/version": {"major": "1", "minor": "36"},
        "/api/v1/namespaces/default/pods/web": POD,
    }
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers[request.path])

    for path in answers:
        app.router.add_get(path, answer)
    for method in ("GET", "POST"):
        app.router.add_route(method, "/api/v1/namespaces/default/pods/web/{kind:exec|attach}", api.session)
        app.router.add_route(method, "/api/v1/namespaces/default/pods/web/portforward", api.forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        api.base = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
        yield api
    finally:
        await runner.cleanup()


def environment(home: Path, *, websockets: bool) -> dict[str, str]:
    chosen = "true" if websockets else "false"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": chosen,
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": chosen,
    }


async def kubectl(
    api: PodApi, home: Path, *arguments: str, stdin: bytes = b"", websockets: bool = True
) -> tuple[int, bytes, bytes]:
    """Run kubectl against the pod: exit code, output, errors."""
    program = binary()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        f"--server={api.base}",
        "--insecure-skip-tls-verify",
        "--token=any",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home, websockets=websockets),
    )
    try:
        out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out, err
