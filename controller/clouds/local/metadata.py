"""The instance metadata service, version 2: what it answers. Pure; the sockets are in metadata_server.

Every answer needs a session token. Tokens are signed, not stored, so they outlive a restart of the controller.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings

_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN = "x-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
_LONGEST_TTL = 21600
_DIGEST_BYTES = 32


class InstanceMetadata(msgspec.Struct, frozen=True):
    """What one instance may ask for: path below /latest → text; and the key of its session tokens."""

    tree: dict[str, str]
    key: bytes


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer. `ttl` is told back for a new token."""

    status: int
    body: str = ""
    ttl: int = 0


def facts(settings: LocalSettings, record: Record, *, document: str, signature: str, key: bytes) -> InstanceMetadata:
    """All that the service says of this instance."""
    both = f"{record.address}\n{record.pod_address}"
    network = f"meta-data/network/interfaces/macs/{record.mac}"
    tree = {
        "user-data": record.user_data,
        "dynamic/instance-identity/document": document,
        "dynamic/instance-identity/signature": signature,
        "meta-data/ami-id": settings.image,
        "meta-data/hostname": record.hostname,
        "meta-data/instance-id": record.id,
        "meta-data/instance-life-cycle": record.launch_type.value,
        "meta-data/instance-type": record.type,
        "meta-data/local-hostname": record.hostname,
        "meta-data/local-ipv4": record.address,
        "meta-data/mac": record.mac,
        f"{network}/device-number": "0",
        f"{network}/local-hostname": record.hostname,
        f"{network}/local-ipv4s": both,
        f"{network}/mac": record.mac,
        **_sixths(settings, record, network),
        f"{network}/owner-id": settings.account,
        f"{network}/subnet-ipv4-cidr-block": settings.subnet,
        f"{network}/vpc-ipv4-cidr-block": settings.subnet,
        f"{network}/vpc-ipv4-cidr-blocks": settings.subnet,
        "meta-data/placement/availability-zone": record.zone,
        "meta-data/placement/region": settings.region,
    }
    tree.update({f"meta-data/tags/instance/{name}": value for name, value in record.tags.items()})
    return InstanceMetadata({path: text for path, text in tree.items() if path != "user-data" or text}, key)


def _sixths(settings: LocalSettings, record: Record, network: str) -> dict[str, str]:
    if not record.pod_address6:
        return {}
    return {
        f"{network}/ipv6s": record.pod_address6,
        f"{network}/subnet-ipv6-cidr-blocks": settings.subnet6,
        f"{network}/vpc-ipv6-cidr-blocks": settings.subnet6,
    }


def answer(known: InstanceMetadata, method: str, path: str, headers: Mapping[str, str], now: float) -> Answer:
    """The service's answer to one request. `headers` by lower-case name."""
    if path == "/latest/api/token":
        return _token(known, method, headers, now)
    if method not in ("GET", "HEAD"):
        return Answer(405)
    if not _valid(known, headers.get(_TOKEN, ""), now):
        return Answer(401)
    if path.rstrip("/") == "":
        return Answer(200, "latest")
    _empty, version, *rest = path.split("/")
    if version != "latest":
        return Answer(404)
    wanted = "/".join(rest).rstrip("/")
    if wanted in known.tree:
        return Answer(200, known.tree[wanted])
    below = _listing(known.tree, wanted)
    return Answer(200, "\n".join(below)) if below else Answer(404)


def _listing(tree: Mapping[str, str], folder: str) -> list[str]:
    """As the real service: entries in order, folders with a slash."""
    before = f"{folder}/" if folder else ""
    found: set[str] = set()
    for path in tree:
        if path.startswith(before):
            name, slash, _rest = path.removeprefix(before).partition("/")
            found.add(name + slash)
    return sorted(found)


def _token(known: InstanceMetadata, method: str, headers: Mapping[str, str], now: float) -> Answer:
    if method != "PUT":
        return Answer(405)
    if "x-forwarded-for" in headers:  # as on EC2: no tokens through proxies
        return Answer(403)
    wanted = headers.get(_TTL, "")
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= 5 and 1 <= int(wanted) <= _LONGEST_TTL):
        return Answer(400)
    until = int(now + int(wanted)).to_bytes(8, "big")
    token = base64.urlsafe_b64encode(until + _digest(known.key, until)).decode()
    return Answer(200, token, int(wanted))


def _valid(known: InstanceMetadata, token: str, now: float) -> bool:
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        return False
    until, digest = raw[:8], raw[8:]
    if len(digest) != _DIGEST_BYTES or not hmac.compare_digest(digest, _digest(known.key, until)):
        return False
    return now < int.from_bytes(until, "big")


def _digest(key: bytes, until: bytes) -> bytes:
    return hmac.new(key, until, hashlib.sha256).digest()
