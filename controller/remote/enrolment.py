"""From a token to a certificate, and from each to the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from cellwire.rpc import pinned
from cellwire.rpc.call import call
from cellwire.rpc.reverse import CALLS, calling
from cellwire.worker.v1 import worker_grpc
from cellwire.worker.v1 import worker_pb2 as wire
from controller.remote.worker_identity import WorkerCredentials, WorkerIdentity

log = structlog.get_logger()
DEADLINE = 20.0
JOIN_AGAIN = 2.0
# After a failed renewal; certificates live for eight hours beyond the first try.
RENEW_AGAIN = 300.0
# A timer does not run while a machine is suspended: look at the clock now and then.
RENEW_LOOK = 600.0
FINAL = frozenset({Kind.DENIED, Kind.INVALID})


async def joined(
    identity: WorkerIdentity, controllers: Sequence[str], fingerprint: str, token: str, stopped: Callable[[], bool]
) -> WorkerCredentials:
    """What joining told, now or in an earlier life; waits for a controller that lets us join, unless `stopped`. A token
    is used where there is no identity yet. Raises Fault DENIED or INVALID.
    """
    if known := identity.joined():
        return known
    if not token or not fingerprint:
        mend = "start it with --token and --fingerprint, as `chinampa token worker` prints them"
        raise Fault(Kind.INVALID, "this worker", "it has not joined yet", mend)
    began = False
    while True:
        for address in controllers:
            try:
                if not began:
                    identity.begin(await pinned.authority(address, fingerprint, "--fingerprint"))
                    began = True
                return await _join_at(address, identity, token)
            except Fault as fault:
                if fault.kind in FINAL:
                    raise
                log.warning("not joined", controller=address, cause=str(fault))
        if stopped():
            raise Fault(Kind.UNAVAILABLE, "this worker", "asked to stop before it had joined")
        await asyncio.sleep(JOIN_AGAIN)


async def _join_at(address: str, identity: WorkerIdentity, token: str) -> WorkerCredentials:
    host, port = pinned.endpoint(address)
    request = wire.JoinRequest(token=token, signing_request=identity.signing_request())
    async with calling(host, port, identity.calling(CALLS), pinned.SERVER_NAME) as channel:
        reply = await call(worker_grpc.WorkerEnrolmentStub(channel).Join, request, deadline=DEADLINE)
    told = WorkerCredentials(
        worker=reply.worker, renew_at=time.time() + reply.renew_after_seconds, carried_key=reply.carried_key
    )
    identity.keep(told, reply.certificate)
    log.info("joined", controller=address, worker=told.worker)
    return told


async def renew_often(
    identity: WorkerIdentity, known: WorkerCredentials, controllers: Sequence[str], renewed: Callable[[], None]
) -> None:
    """For ever: have the next certificate at two thirds of the present one's life; `renewed` is told."""
    while True:
        await asyncio.sleep(min(max(known.renew_at - time.time(), 0), RENEW_LOOK))
        if known.renew_at > time.time():
            continue
        try:
            known = await _renew(identity, known, controllers)
        except Fault as fault:
            log.warning("the certificate was not renewed", cause=str(fault))
            await asyncio.sleep(RENEW_AGAIN)
        else:
            log.info("the certificate was renewed")
            renewed()


async def _renew(identity: WorkerIdentity, known: WorkerCredentials, controllers: Sequence[str]) -> WorkerCredentials:
    request = wire.RenewRequest(signing_request=identity.signing_request())

    async def ask(host: str, port: int) -> wire.RenewReply:
        async with calling(host, port, identity.calling(CALLS), pinned.SERVER_NAME) as channel:
            return await call(worker_grpc.WorkerEnrolmentStub(channel).Renew, request, deadline=DEADLINE)

    reply = await pinned.first_answer(controllers, ask)
    after = msgspec.structs.replace(known, renew_at=time.time() + reply.renew_after_seconds)
    identity.keep(after, reply.certificate)
    return after
