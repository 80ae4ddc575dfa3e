"""From user-data to a certificate: fetch the authority and check it by its fingerprint, prove who we are, be signed.

Done once in the life of an instance; a restarted agent finds its identity on disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import ssl
import time

from grpclib.client import Channel
from grpclib.encoding.proto import ProtoCodec

from cellagent.boot.identity import Home, Identity, write
from cellagent.boot.metadata import Metadata
from cellagent.boot.userdata import UserData, parse
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from cellwire.rpc.limits import CONFIGURATION
from cellwire.rpc.status import FaultCodec
from cellwire.rpc.turned import AUTHORITY, CALLS

SERVER_NAME = "chinampa-controller"
DEADLINE = 20.0
AGENT_VERSION = "0.1.0"


async def join(identity: Identity, metadata: Metadata) -> Home:
    """Join with the first controller that answers. Raises Fault: DENIED is final, UNAVAILABLE is not."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(identity.signing_request())
        facts = parse(await metadata.get("user-data"))
        document = await metadata.get("dynamic/instance-identity/document")
        signature = await metadata.get("dynamic/instance-identity/signature")
    request = wire.JoinRequest(
        token=facts.token,
        signing_request=asked.result(),
        identity_document=document,
        identity_signature=signature,
        agent_version=AGENT_VERSION,
    )
    last = Fault(Kind.UNAVAILABLE, "join", "no controller was tried")
    for address in facts.controllers:
        try:
            return await _join_at(address, facts, identity, request)
        except Fault as fault:
            if fault.kind is Kind.DENIED:
                raise
            last = fault
    raise last


async def renew(identity: Identity, home: Home) -> Home:
    """Ask for the next certificate with the present one. Raises Fault."""
    request = wire.RenewRequest(signing_request=await identity.signing_request())
    host, _, port = home.controllers[0].rpartition(":")
    channel = _channel(host, int(port), client_context(identity, CALLS))
    try:
        reply = await call(cell_grpc.EnrolmentStub(channel).Renew, request, deadline=DEADLINE)
    finally:
        channel.close()
    renewed = Home(
        cell=home.cell,
        controllers=home.controllers,
        renew_at=time.time() + reply.renew_after_seconds,
        settings=home.settings,
    )
    identity.keep(renewed, reply.certificate)
    return renewed


def client_context(identity: Identity, protocol: str) -> ssl.SSLContext:
    """TLS with our authority as the only root, and our certificate where there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(identity.authority)
    if identity.certificate.exists():
        context.load_cert_chain(identity.certificate, identity.key)
    context.set_alpn_protocols([protocol])
    return context


async def _join_at(address: str, facts: UserData, identity: Identity, request: wire.JoinRequest) -> Home:
    host, _, port = address.rpartition(":")
    try:
        authority = await _authority(host, int(port))
    except (OSError, TimeoutError, EOFError) as error:
        raise Fault(Kind.UNAVAILABLE, f"controller {address}", str(error) or "it did not answer in time") from error
    if fingerprint(authority) != facts.ca:
        raise Fault(Kind.DENIED, f"controller {address}", "its authority is not the one that the user-data names")
    write(identity.authority, authority)
    channel = _channel(host, int(port), client_context(identity, CALLS))
    try:
        reply = await call(cell_grpc.EnrolmentStub(channel).Join, request, deadline=DEADLINE)
    finally:
        channel.close()
    home = Home(
        cell=reply.cell,
        controllers=facts.controllers,
        renew_at=time.time() + reply.renew_after_seconds,
        settings=reply.settings.SerializeToString(),
    )
    identity.keep(home, reply.certificate)
    return home


async def _authority(host: str, port: int) -> bytes:
    # Nothing is believed of this connection: what it brings is checked by the pinned fingerprint.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([AUTHORITY])
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            return await reader.read(1 << 16)
        finally:
            writer.close()


def fingerprint(certificate: bytes) -> str:
    """The pinned form, "sha256:" and hex digest, of a PEM certificate's DER."""
    try:
        return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()
    except ValueError:
        return ""


def _channel(host: str, port: int, context: ssl.SSLContext) -> Channel:
    config = dataclasses.replace(CONFIGURATION, ssl_target_name_override=SERVER_NAME)
    return Channel(host, port, ssl=context, codec=ProtoCodec(), status_details_codec=FaultCodec(), config=config)
