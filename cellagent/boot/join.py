"""From user-data to a certificate: fetch the authority and check it by its fingerprint, prove who we are, be signed.

Done once in the life of an instance; a restarted agent finds its identity on disk.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
import zlib
from collections.abc import Callable
from ipaddress import ip_network

import msgspec

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.metadata_client import Metadata
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc import pinned
from cellwire.rpc.call import call
from cellwire.rpc.pinned import SERVER_NAME, endpoint
from cellwire.rpc.reverse import CALLS, calling
from cellwire.version import VERSION
from hostkit import files

log = logging.getLogger(__name__)
DEADLINE = 20.0
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
FINAL = frozenset({Kind.DENIED, Kind.INVALID})
AGENT_VERSION = VERSION
MARK = "#chinampa "
LONGEST_TEXT = 1 << 20


async def join(identity: CellIdentity, metadata: Metadata) -> Home:
    """Join with the first controller that answers. Raises Fault: DENIED and INVALID are final, the others are not."""
    try:
        async with asyncio.TaskGroup() as tasks:
            request = tasks.create_task(identity.signing_request())
            facts, document, signature = await _facts(metadata)
            vpc = await _vpc(metadata)
    except ExceptionGroup as group:
        raise _first_fault(group) from group
    asked = wire.JoinRequest(
        token=facts.token,
        signing_request=request.result(),
        identity_document=document,
        identity_signature=signature,
        agent_version=AGENT_VERSION,
    )
    faults: list[Fault] = []
    for address in facts.controllers:
        try:
            return await _join_at(address, facts, identity, asked, vpc)
        except Fault as fault:
            faults.append(fault)
    # One controller's refusal is final only where no other may yet say yes.
    raise next((fault for fault in faults if fault.kind not in FINAL), faults[0])


async def join_for_ever(identity: CellIdentity, metadata: Metadata) -> Home:
    """Join; try again for as long as trying may help. Raises Fault DENIED or INVALID."""
    tries = 0
    while True:
        try:
            return await join(identity, metadata)
        except Fault as fault:
            if fault.kind in FINAL:
                raise
            log.warning("not joined: %s", fault)
        await asyncio.sleep(pause(tries))
        tries += 1


def pause(tries: int, longest: float = LONGEST_PAUSE, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: exponential, with full jitter, so that a thousand cells do not dial at once."""
    return chance() * min(longest, SHORTEST_PAUSE * 2.0 ** min(tries, 16)) + 0.05


async def _facts(metadata: Metadata) -> tuple[BootFacts, bytes, bytes]:
    facts = facts_of(await metadata.get("user-data"))
    document = await metadata.get("dynamic/instance-identity/document")
    return facts, document, await metadata.get("dynamic/instance-identity/signature")


async def _vpc(metadata: Metadata) -> tuple[str, ...]:
    """The networks of the cell's VPC. A metadata service that does not tell is no reason not to join."""
    try:
        mac = (await metadata.get("meta-data/mac")).decode().strip()
        told = await metadata.get(f"meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks")
        return tuple(str(ip_network(line)) for line in told.decode().split())
    except (Fault, ValueError) as error:
        log.warning("the networks of the VPC are not known, so pods leave it by their own address: %s", error)
        return ()


def _first_fault(group: ExceptionGroup) -> Fault:
    for error in group.exceptions:
        if isinstance(error, Fault):
            return error
    return Fault(Kind.BROKEN, "join", repr(group.exceptions[0]))


async def renew(identity: CellIdentity, home: Home) -> Home:
    """Ask the first controller that answers for the next certificate, with the present one. Raises Fault."""
    request = wire.RenewRequest(signing_request=await identity.signing_request())

    async def ask(host: str, port: int) -> wire.RenewReply:
        async with calling(host, port, client_context(identity, CALLS), SERVER_NAME) as channel:
            return await call(cell_grpc.EnrolmentStub(channel).Renew, request, deadline=DEADLINE)

    reply = await pinned.first_answer(home.controllers, ask)
    renewed = msgspec.structs.replace(home, renew_at=time.time() + reply.renew_after_seconds)
    identity.keep(renewed, reply.certificate)
    return renewed


def client_context(identity: CellIdentity, protocol: str) -> ssl.SSLContext:
    """TLS with a controller, by this cell's identity."""
    return pinned.client_context(identity.authority, identity.certificate, identity.key, protocol)


async def _join_at(
    address: str, facts: BootFacts, identity: CellIdentity, request: wire.JoinRequest, vpc: tuple[str, ...]
) -> Home:
    authority = await pinned.authority(address, facts.ca, "the user-data")
    files.replace(identity.authority, authority, durable=True)
    host, port = endpoint(address)
    async with calling(host, port, client_context(identity, CALLS), SERVER_NAME) as channel:
        reply = await call(cell_grpc.EnrolmentStub(channel).Join, request, deadline=DEADLINE)
    home = Home(
        cell=reply.cell,
        controllers=facts.controllers,
        renew_at=time.time() + reply.renew_after_seconds,
        settings=reply.settings.SerializeToString(),
        vpc=vpc,
    )
    identity.keep(home, reply.certificate)
    return home


class BootFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the user-data of an instance says: where home is, whom to trust, and the join token.

    `controllers` are "host:port"; `ca` is the fingerprint of the authority.
    """

    version: int
    controllers: tuple[str, ...]
    ca: str
    token: str


def facts_of(data: bytes) -> BootFacts:
    """The facts of user-data, which is plain or compressed text. Pure. Raises Fault INVALID."""
    try:
        text = (_unpacked(data) if data[:2] == b"\x1f\x8b" else data).decode()
        line = next(line for line in text.splitlines() if line.startswith(MARK))
        facts = msgspec.json.decode(line.removeprefix(MARK), type=BootFacts)
    except StopIteration:
        raise _invalid(f"it has no line that begins with {MARK.strip()!r}") from None
    except (ValueError, zlib.error, msgspec.DecodeError, RecursionError) as error:
        raise _invalid(str(error)) from error
    if facts.version != 1 or not facts.controllers:
        raise _invalid("its version is not 1, or it names no controller")
    return facts


def _unpacked(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: gzip
    text = inflater.decompress(data, LONGEST_TEXT)
    if not inflater.eof:
        raise ValueError(f"it does not unpack to a whole text of at most {LONGEST_TEXT} bytes")
    return text


def _invalid(cause: str) -> Fault:
    return Fault(Kind.INVALID, "user-data", cause, "boot the instance from a launch of the controller")
