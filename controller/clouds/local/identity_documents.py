"""Signed instance identity documents: made for the metadata service, checked for the join.

The key is the local cloud's own, made at its first start; whoever can read it can claim to be any instance.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.model.instance import Identity
from controller.model.names import InstanceId
from hostkit import files

_MACHINES = {"amd64": "x86_64", "arm64": "arm64"}  # EC2 has words of its own


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance identity document, with EC2's fields in EC2's order."""

    account_id: str
    architecture: str
    availability_zone: str
    image_id: str
    instance_id: str
    instance_type: str
    pending_time: str
    private_ip: str
    region: str
    version: str = "2017-09-30"


def document(settings: LocalSettings, record: Record, architecture: str) -> bytes:
    """The document of this instance: the same bytes each time."""
    pending = datetime.fromtimestamp(int(record.launched_at), UTC)
    made = Document(
        account_id=settings.account,
        architecture=_MACHINES.get(architecture, architecture),
        availability_zone=record.zone,
        image_id=settings.image,
        instance_id=record.id,
        instance_type=record.type,
        pending_time=pending.strftime("%Y-%m-%dT%H:%M:%SZ"),
        private_ip=record.address,
        region=settings.region,
    )
    return msgspec.json.format(msgspec.json.encode(made), indent=2)


class Signer:
    """The local cloud's key."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        exported = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._seed = hashlib.sha256(exported).digest()

    def sign(self, content: bytes) -> str:
        """Signature in base64, as the metadata service gives it."""
        return base64.b64encode(self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()

    def verify(self, content: bytes, signature: bytes) -> Identity:
        """What the document says, if the signature (base64, line breaks allowed) is ours. Raises Fault DENIED."""
        try:
            raw = base64.b64decode(b"".join(signature.split()), validate=True)
            self._public.verify(raw, content, padding.PKCS1v15(), hashes.SHA256())
            said = strangers_json.decode(content, Document)
            pending = datetime.strptime(said.pending_time, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        except (InvalidSignature, binascii.Error) as error:
            raise _denied("its signature is not this cloud's") from error
        except (msgspec.DecodeError, ValueError) as error:
            raise _denied(f"it cannot be read: {error}") from error
        return Identity(
            instance=InstanceId(said.instance_id),
            account=said.account_id,
            region=said.region,
            zone=said.availability_zone,
            type=said.instance_type,
            address=said.private_ip,
            pending_at=pending,
        )

    def session_key(self, instance: InstanceId) -> bytes:
        """The key of an instance's metadata session tokens: known again after a restart, stored nowhere."""
        return hashlib.sha256(self._seed + instance.encode()).digest()


def signer(path: Path) -> Signer:
    """Read the key, or make it at the first start. Raises Fault BROKEN for an unreadable one."""
    if not path.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        files.replace(
            path,
            made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    try:
        # Ours, and whole: to see whether its numbers are prime takes longer than all else of it.
        key = serialization.load_pem_private_key(path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise Fault(Kind.BROKEN, f"key {path}", str(error), "remove it; running instances can then not join") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Fault(Kind.BROKEN, f"key {path}", "is no RSA key", "remove it; running instances can then not join")
    return Signer(key)


def _denied(cause: str) -> Fault:
    return Fault(Kind.DENIED, "instance identity document", cause)
