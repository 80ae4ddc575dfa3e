"""Checks that an instance is who it says: AWS's signature, and our account and region.

The signature is that of /latest/dynamic/instance-identity/signature: RSA, PKCS #1 v1.5, over SHA-256. AWS publishes the
certificate of each region in the EC2 user guide, "AWS public certificates for instance identity document signatures"
(the RSA ones); they are configured, not built in, so that nobody must trust this file for them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from controller.model.instance import Identity
from controller.model.names import InstanceId

_WHERE = (
    "put the RSA certificate of the region there as a PEM file; the EC2 user guide lists them under "
    '"AWS public certificates for instance identity document signatures"'
)


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    account_id: str
    region: str
    availability_zone: str
    instance_id: str
    instance_type: str
    pending_time: str
    private_ip: str | None = None


class Verifier:
    """A verifier of instance identity documents: knows whose signature to believe."""

    def __init__(self, keys: Sequence[rsa.RSAPublicKey], account: str, region: str) -> None:
        self._keys = tuple(keys)
        self._account = account
        self._region = region

    def verify(self, document: bytes, signature: bytes) -> Identity:
        """What the document says. `signature` is base64, line breaks allowed. Raises Fault DENIED."""
        try:
            raw = base64.b64decode(b"".join(signature.split()), validate=True)
        except binascii.Error as error:
            raise _denied("its signature is not base64") from error
        if not any(_signed(key, raw, document) for key in self._keys):
            raise _denied(f"its signature is of no certificate of {self._region} that is configured")
        try:
            said = strangers_json.decode(document, _Document)
            pending = datetime.strptime(said.pending_time, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        except (msgspec.DecodeError, ValueError) as error:
            raise _denied(f"it cannot be read: {error}") from error
        if said.account_id != self._account:
            raise _denied(f"it is of account {said.account_id}, instances of {self._account} may join")
        if said.region != self._region:
            raise _denied(f"it is of region {said.region}, instances of {self._region} may join")
        return Identity(
            instance=InstanceId(said.instance_id),
            account=said.account_id,
            region=said.region,
            zone=said.availability_zone,
            type=said.instance_type,
            address=said.private_ip or "",
            pending_at=pending,
        )


def keys_in(folder: Path | None) -> tuple[rsa.RSAPublicKey, ...]:
    """The RSA keys of all certificates in a folder of PEM files. Raises Fault INVALID, saying where to get them."""
    if folder is None:
        raise Fault(Kind.INVALID, "cloud.ec2.certificates", "no folder is named", _WHERE)
    keys: list[rsa.RSAPublicKey] = []
    for path in sorted(folder.glob("*.pem")) if folder.is_dir() else ():
        try:
            certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (ValueError, OSError) as error:
            raise Fault(Kind.INVALID, f"certificate {path}", f"it cannot be read: {error}", _WHERE) from error
        # DSA ones, which AWS lists beside them, sign another document.
        found = (certificate.public_key() for certificate in certificates)
        keys.extend(key for key in found if isinstance(key, rsa.RSAPublicKey))
    if not keys:
        raise Fault(Kind.INVALID, f"cloud.ec2.certificates {folder}", "it has no RSA certificate (*.pem)", _WHERE)
    return tuple(keys)


def _signed(key: rsa.RSAPublicKey, signature: bytes, document: bytes) -> bool:
    try:
        key.verify(signature, document, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _denied(cause: str) -> Fault:
    return Fault(Kind.DENIED, "instance identity document", cause)
