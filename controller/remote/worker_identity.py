"""The identity of this worker, on its disk: key, certificate, authority, and what joining told. Kept over restarts."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cellwire.faults import Fault, Kind
from cellwire.rpc import pinned
from hostkit import files


class WorkerCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials that joining gave. `renew_at` is a unix second; `carried_key` signs what cells carry."""

    worker: str
    renew_at: float
    carried_key: bytes


class WorkerIdentity:
    """The files of the worker's identity."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._key = folder / "worker.key"
        self._certificate = folder / "worker.pem"
        self._authority = folder / "ca.pem"
        self._joined = folder / "joined"

    def joined(self) -> WorkerCredentials | None:
        """What joining told, if this worker has joined."""
        try:
            return msgspec.msgpack.decode(self._joined.read_bytes(), type=WorkerCredentials)
        except (OSError, msgspec.DecodeError):
            return None

    def begin(self, authority: bytes) -> None:
        """Trust this authority, which has been checked, and have a new key: a token is good for one."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._joined.unlink(missing_ok=True)
        self._certificate.unlink(missing_ok=True)
        files.replace(self._key, private, durable=True)
        files.replace(self._authority, authority, durable=True)

    def keep(self, joined: WorkerCredentials, certificate: bytes) -> None:
        """Write down a certificate, then that it is there."""
        files.replace(self._certificate, certificate, durable=True)
        files.replace(self._joined, msgspec.msgpack.encode(joined), durable=True)

    def signing_request(self) -> bytes:
        """A request for this worker's key, PEM. Raises Fault BROKEN."""
        try:
            key = serialization.load_pem_private_key(self._key.read_bytes(), None)
        except (OSError, ValueError) as error:
            mend = "remove the folder, and join with a new token"
            raise Fault(Kind.BROKEN, f"the worker's key {self._key}", str(error), mend) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM)

    def calling(self, protocol: str) -> ssl.SSLContext:
        """TLS with a controller: our authority as the only root, and our certificate where there is one."""
        return pinned.client_context(self._authority, self._certificate, self._key, protocol)

    def answering(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """TLS for the port that cells dial: each shows a certificate of our authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self._authority)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(list(protocols))
        context.num_tickets = 0  # a cell's connection stays; nothing is resumed
        self.show(context)
        return context

    def show(self, context: ssl.SSLContext) -> None:
        """Show the present certificate on the connections to come."""
        context.load_cert_chain(self._certificate, self._key)
