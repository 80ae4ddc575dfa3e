"""The controller's own certificate authority: who a cell trusts, and by what a cell is known.

Made on first start, its keys readable by their owner only. Keys of cells never come here: they send signing requests.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cellwire.faults import Fault, Kind
from controller.model.names import CellName

CA_LIFE = datetime.timedelta(days=3650)
SERVER_LIFE = datetime.timedelta(days=90)
CELL_LIFE = datetime.timedelta(hours=24)
# A cell's clock may be behind ours when it boots.
SKEW = datetime.timedelta(minutes=5)
SERVER_NAME = "chinampa-controller"


class Authority:
    """Signs cells' requests and holds the port's own certificate."""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._folder = folder
        self._key = _key(folder / "ca.key")
        self._certificate = self._own_certificate(folder / "ca.pem")
        self._make_server_certificate(addresses)

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """What user-data names: "sha256:" and the hex digest of the certificate's DER."""
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    def sign(self, request: bytes, cell: CellName, life: datetime.timedelta = CELL_LIFE) -> bytes:
        """A client certificate naming the cell. Raises Fault INVALID for a request that is none."""
        try:
            asked = x509.load_pem_x509_csr(request)
            if not asked.is_signature_valid:
                raise ValueError("its signature does not hold")
        except (ValueError, InvalidSignature) as error:
            raise Fault(Kind.INVALID, "the signing request", str(error)) from error
        builder = self._builder(str(cell), life).public_key(asked.public_key())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        signed = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def server_context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """TLS 1.3 for the port; a client certificate is checked where one is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        context.load_verify_locations(self._folder / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(list(protocols))
        return context

    def server_files(self) -> tuple[Path, Path]:
        """Certificate and key of the server, for other ports of the same controller."""
        return self._folder / "server.pem", self._folder / "server.key"

    def _own_certificate(self, path: Path) -> x509.Certificate:
        if path.exists():
            return x509.load_pem_x509_certificate(path.read_bytes())
        builder = self._builder("chinampa authority", CA_LIFE).public_key(self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(path, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate

    def _make_server_certificate(self, addresses: Sequence[str]) -> None:
        # Made anew at each start: that is its renewal, and the addresses may have changed.
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(SERVER_NAME), x509.DNSName("localhost")]
        for address in addresses:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(address)))
            except ValueError:
                names.append(x509.DNSName(address))
        builder = self._builder(SERVER_NAME, SERVER_LIFE).public_key(key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(self._folder / "server.key", _private(key))
        _write(self._folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM) + self.pem)

    def _builder(self, name: str, life: datetime.timedelta) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chinampa authority")])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + life)
        )


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise Fault(Kind.BROKEN, str(path), "it is not an elliptic curve key", "restore it from a backup")
        return loaded
    key = ec.generate_private_key(ec.SECP256R1())
    _write(path, _private(key))
    return key


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
