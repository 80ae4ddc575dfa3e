"""The controller's own certificate authority: who a cell trusts, and by what a cell is known.

Made on first start, its keys readable by their owner only. Keys of cells never come here: they send signing requests.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cellwire.faults import Fault, Kind
from cellwire.rpc.pinned import SERVER_NAME
from cellwire.rpc.reverse import worker_host, worker_subject
from controller.model.names import CellName, InstanceId
from hostkit import files

log = structlog.get_logger()
CA_LIFE = datetime.timedelta(days=3650)
SERVER_LIFE = datetime.timedelta(days=90)
CELL_LIFE = datetime.timedelta(hours=24)
# A cell's clock may be behind ours when it boots, or ours ahead when we do, and set back soon after.
SKEW = datetime.timedelta(days=1)


class Authority:
    """Signs cells' requests and holds the port's own certificate."""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        """Raises Fault BROKEN for files of the authority's that are lost, damaged, over, or not each other's."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._folder = folder
        self._addresses = tuple(addresses)
        self._key = _key(folder / "ca.key", folder / "ca.pem")
        self._certificate = self._own_certificate(folder / "ca.pem")
        _check(self._certificate, self._key, folder)
        self._make_server_certificate()

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """What user-data names: "sha256:" and the hex digest of the certificate's DER."""
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    def secret(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the authority's own: the same for as long as that is kept."""
        own = self._key.private_numbers().private_value.to_bytes(32, "big")
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"chinampa: {purpose}".encode()).derive(own)

    def sign(self, request: bytes, cell: CellName, instance: InstanceId, life: datetime.timedelta = CELL_LIFE) -> bytes:
        """A client certificate naming the cell and its instance. Raises Fault INVALID for a request that is none."""
        signed = self._leaf(str(cell), life, _asked(request), (ExtendedKeyUsageOID.CLIENT_AUTH,), str(instance))
        return signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign_worker(self, request: bytes, worker: str) -> bytes:
        """A certificate naming a worker: for its calls, and for the port that its cells dial. Raises Fault INVALID."""
        both = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
        builder = self._leaf(worker_subject(worker), CELL_LIFE, _asked(request), both)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(worker_host(worker))]), critical=False
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server_context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """TLS 1.3 for the port; a client certificate is checked where one is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        context.load_verify_locations(self._folder / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(list(protocols))
        context.num_tickets = 0  # a cell's connection stays; nothing is resumed
        return context

    def renew_server(self, context: ssl.SSLContext) -> None:
        """Make the server's next certificate and show it on the connections to come."""
        self._make_server_certificate()
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")

    def certify(self, stem: str, names: Sequence[str]) -> tuple[Path, Path]:
        """A new certificate of a server with these names and addresses, and its key: two files called `stem`.

        Raises Fault INVALID for what is no name.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            held = [_general_name(name) for name in names]
        except ValueError as error:
            raise Fault(Kind.INVALID, f"names of the server {', '.join(names)}", str(error)) from error
        builder = self._leaf(SERVER_NAME, SERVER_LIFE, key.public_key(), (ExtendedKeyUsageOID.SERVER_AUTH,))
        builder = builder.add_extension(x509.SubjectAlternativeName(held), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        files.replace(pair[1], _private(key), durable=True)
        files.replace(pair[0], certificate.public_bytes(serialization.Encoding.PEM) + self.pem, durable=True)
        return pair

    def _own_certificate(self, path: Path) -> x509.Certificate:
        if path.exists():
            with _whole(path, "PEM certificate"):
                return x509.load_pem_x509_certificate(path.read_bytes())
        public = self._key.public_key()
        builder = (
            _builder("chinampa authority", CA_LIFE)
            .public_key(public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        files.replace(path, certificate.public_bytes(serialization.Encoding.PEM), durable=True)
        return certificate

    def _make_server_certificate(self) -> None:
        # Made anew at each start, for the addresses may have changed.
        self.certify("server", (SERVER_NAME, "localhost", *self._addresses))

    def _leaf(
        self,
        name: str,
        life: datetime.timedelta,
        key: ec.EllipticCurvePublicKey,
        usages: Sequence[x509.ObjectIdentifier],
        device: str = "",
    ) -> x509.CertificateBuilder:
        return (
            _builder(name, life, device)
            .public_key(key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_of(request: bytes) -> str:
    """A digest of the public key in a signing request: the same cell's requests have it in common."""
    return _digest(_asked(request))


def key_of_certificate(certificate: bytes) -> str:
    """The same of a certificate in DER. Raises Fault DENIED where it is none with a key of ours."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Fault(Kind.DENIED, "the certificate shown", str(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Fault(Kind.DENIED, "the certificate shown", "its key is not of the curve P-256")
    return _digest(key)


def _digest(key: ec.EllipticCurvePublicKey) -> str:
    public = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _asked(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        asked = x509.load_pem_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("its signature does not hold")
        key = asked.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Fault(Kind.INVALID, "the signing request", str(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Fault(Kind.INVALID, "the signing request", "its key is not of the curve P-256")
    return key


def _builder(name: str, life: datetime.timedelta, device: str = "") -> x509.CertificateBuilder:
    """`device` is the machine on which the certificate is used; X.520 has the attribute serialNumber for it."""
    now = datetime.datetime.now(datetime.UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if device:
        subject.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, device))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chinampa authority")]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _key(path: Path, certificate: Path) -> ec.EllipticCurvePrivateKey:
    if certificate.exists() and not path.exists():
        mend = f"restore it, or remove {certificate} too: then no running cell can come back"
        raise Fault(Kind.BROKEN, str(path), "the authority's key is gone while its certificate is there", mend)
    if path.exists():
        _keep_to_owner(path)
        with _whole(path, "PEM key without a password"):
            loaded = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise Fault(Kind.BROKEN, str(path), "it is not an elliptic curve key", "restore it from a backup")
        return loaded
    key = ec.generate_private_key(ec.SECP256R1())
    files.replace(path, _private(key), durable=True)
    return key


@contextmanager
def _whole(path: Path, what: str) -> Generator[None]:
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Fault(Kind.BROKEN, str(path), f"it is no {what}", "restore it from a backup") from error


def _keep_to_owner(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and path.is_file():
        path.chmod(0o600)
        cause = (
            f"its mode was {mode:04o} and is 0600 now; whoever has read it can pass for the controller and for cells"
        )
        log.warning("the authority's key was not its owner's alone", path=str(path), cause=cause)


def _check(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, folder: Path) -> None:
    thing, anew = str(folder / "ca.pem"), f"remove ca.key and ca.pem in {folder}: then no running cell can come back"
    if certificate.public_key() != key.public_key():
        raise Fault(Kind.BROKEN, thing, "it is not the certificate of the key in ca.key", f"restore both, or {anew}")
    over = certificate.not_valid_after_utc
    if over <= datetime.datetime.now(datetime.UTC):
        cause = f"the authority's certificate is over since {over:%Y-%m-%d}"
        raise Fault(Kind.BROKEN, thing, cause, f"set this machine's clock if it is wrong, or {anew}")


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
