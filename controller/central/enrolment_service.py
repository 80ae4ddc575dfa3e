"""Join and Renew of workers, on the port that cells dial. Refusals are logged and counted by their reason."""

from __future__ import annotations

from collections import Counter

import structlog
from grpclib.server import Stream

from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import certificate_shown
from cellwire.rpc.reverse import worker_of
from cellwire.worker.v1 import worker_pb2 as wire
from cellwire.worker.v1.worker_grpc import WorkerEnrolmentBase
from controller.central.worker_registry import WorkerRegistry
from controller.link.authority import CELL_LIFE, Authority, key_of, key_of_certificate

log = structlog.get_logger()
RENEW_AFTER = int(CELL_LIFE.total_seconds() * 2 / 3)


class WorkerEnrolment(WorkerEnrolmentBase):
    """The two calls of a worker that is not, or not for much longer, known."""

    def __init__(self, authority: Authority, registry: WorkerRegistry, refused: Counter[str]) -> None:
        self._authority = authority
        self._registry = registry
        self._refused = refused

    async def Join(self, stream: Stream[wire.JoinRequest, wire.JoinReply]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        try:
            worker = await self._registry.join(request.token, key_of(request.signing_request))
            certificate = self._authority.sign_worker(request.signing_request, worker)
        except Fault as fault:
            raise self._counted(fault) from None
        log.info("worker joined", worker=worker)
        reply = wire.JoinReply(
            certificate=certificate,
            worker=worker,
            renew_after_seconds=RENEW_AFTER,
            carried_key=self._authority.secret(f"what cells of worker {worker} carry"),
        )
        await stream.send_message(reply)

    async def Renew(self, stream: Stream[wire.RenewRequest, wire.RenewReply]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        try:
            worker = worker_of(stream.peer.cert() or {})
            if not worker:
                cause = "no valid certificate of a worker was shown"
                raise Fault(Kind.DENIED, "renewal", cause, reason="NoCertificate")
            shown = key_of_certificate(certificate_shown(stream.peer))
            self._registry.check(worker, shown)
            if key_of(request.signing_request) != shown:
                cause = "the key is not the one of the certificate that was shown"
                raise Fault(Kind.DENIED, f"renewal of worker {worker}", cause, reason="AnotherKey")
            certificate = self._authority.sign_worker(request.signing_request, worker)
        except Fault as fault:
            raise self._counted(fault) from None
        await stream.send_message(wire.RenewReply(certificate=certificate, renew_after_seconds=RENEW_AFTER))

    def _counted(self, fault: Fault) -> Fault:
        self._refused[fault.reason or fault.kind.value] += 1
        log.warning("refused", cause=str(fault), reason=fault.reason)
        return fault
