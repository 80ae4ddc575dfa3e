"""The controller as a newcomer meets it: its address, its name, and its authority, which a fingerprint tells."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cellwire.faults import Fault, Kind
from cellwire.rpc.reverse import AUTHORITY

SERVER_NAME = "chinampa-controller"
"""What every controller's certificate carries."""
DEADLINE = 20.0
LARGEST_AUTHORITY = 1 << 16
LAST_LINE = b"-----END CERTIFICATE-----"
Answer = TypeVar("Answer")


def endpoint(address: str) -> tuple[str, int]:
    """Host and port of "host:port", the host of IPv6 in brackets. Raises Fault INVALID."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise Fault(Kind.INVALID, f"controller {address!r}", "it is not of the form host:port")
    return host.strip("[]"), int(port)


def client_context(authority: Path, certificate: Path, key: Path, protocol: str) -> ssl.SSLContext:
    """TLS with a controller: our authority as the only root, and our certificate where there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(authority)
    if certificate.exists():
        context.load_cert_chain(certificate, key)
    context.set_alpn_protocols([protocol])
    return context


async def first_answer(controllers: Sequence[str], ask: Callable[[str, int], Awaitable[Answer]]) -> Answer:
    """The answer of the first controller ("host:port") that gives one, asked in turn. Raises the last one's Fault;
    UNAVAILABLE where there is none to ask.
    """
    fault = Fault(Kind.UNAVAILABLE, "controller", "no address of any is known")
    for address in controllers:
        try:
            return await ask(*endpoint(address))
        except Fault as error:
            fault = error
    raise fault


async def authority(address: str, wanted: str, source: str) -> bytes:
    """The certificate (PEM) of the authority of the controller at an address, which `source` names by the fingerprint
    `wanted`. Raises Fault UNAVAILABLE, DENIED where it is another's.
    """
    host, port = endpoint(address)
    try:
        found = await _shown(host, port)
    except (OSError, TimeoutError, EOFError) as error:
        raise Fault(Kind.UNAVAILABLE, f"controller {address}", str(error) or "it did not answer in time") from error
    if not hmac.compare_digest(_fingerprint(found), wanted):
        raise Fault(Kind.DENIED, f"controller {address}", f"its authority is not the one that {source} names")
    return found


async def _shown(host: str, port: int) -> bytes:
    # Nothing is believed of this connection: what it brings is checked by the pinned fingerprint.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([AUTHORITY])
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            found = await _to_end(reader)
        finally:
            writer.close()
    if LAST_LINE not in found:
        # As where too many dial at once, and somebody has to make room: no reason to give up for good.
        raise EOFError("the connection ended before its authority was told")
    return found


async def _to_end(reader: asyncio.StreamReader) -> bytes:
    got = b""
    while len(got) < LARGEST_AUTHORITY and (more := await reader.read(LARGEST_AUTHORITY - len(got))):
        got += more
    return got


def _fingerprint(certificate: bytes) -> str:
    """The pinned form, "sha256:" and hex digest, of a PEM certificate's DER; "" of what is none."""
    try:
        return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()
    except ValueError:
        return ""
