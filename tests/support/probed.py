"""A server to be probed: `grpc PORT SERVICE` has the standard health service, `https PORT` answers a certain request.

It runs inside a cell, by the Python of this machine.
"""

from __future__ import annotations

import asyncio
import datetime
import http.server
import ssl
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.health.check import ServiceStatus
from grpclib.health.service import Health
from grpclib.server import Server

PATH, HEADER, HOST = "/healthy?deep=1", ("X-Asked-By", "a probe"), "probe.test"


class _HealthService:
    """A service of which only the name matters: its health is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __mapping__(self) -> dict[str, object]:
        return {f"/{self._name}/Nothing": None}


async def grpc(port: int, name: str) -> None:
    """Serve the health of a service; it is well."""
    status = ServiceStatus()
    status.set(value=True)
    server = Server([Health({_HealthService(name): [status]})])  # type: ignore[dict-item,list-item]
    await server.start("0.0.0.0", port)
    await server.wait_closed()


class _ProbeHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        right = self.path == PATH and self.headers.get(HEADER[0]) == HEADER[1] and self.headers.get("Host") == HOST
        self.send_response(204 if right else 500)
        self.end_headers()


def https(port: int) -> None:
    """Answer well to one request only, by TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)
    server = http.server.ThreadingHTTPServer(("0.0.0.0", port), _ProbeHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "grpc":
        asyncio.run(grpc(int(sys.argv[2]), sys.argv[3]))
    else:
        https(int(sys.argv[2]))
