"""Join and Renew, as the cells call them. Refusals are logged and counted by their reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import structlog
from grpclib.protocol import Peer
from grpclib.server import Stream

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import EnrolmentBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import certificate_shown
from cellwire.rpc.reverse import common_name, device
from controller.link.authority import CELL_LIFE, Authority, key_of, key_of_certificate
from controller.link.join_checks import Admission, Admitted, token_hash
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from hostkit.tasks import Singleflight

log = structlog.get_logger()
Verifier = Callable[[bytes, bytes], Identity]
RENEW_AFTER = int(CELL_LIFE.total_seconds() * 2 / 3)


class Enrolment(EnrolmentBase):
    """The two calls of a cell that is not, or not for much longer, known."""

    def __init__(
        self,
        authority: Authority,
        admission: Callable[[], Admission],
        verify: Verifier,
        refused: Counter[str],
        flights: Singleflight,
    ) -> None:
        self._authority = authority
        self._admission = admission
        self._verify = verify
        self._refused = refused
        self._flights = flights

    async def Join(self, stream: Stream[wire.JoinRequest, wire.JoinReply]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        started = time.monotonic()
        try:
            identity = self._verify(request.identity_document, request.identity_signature)
            admitted = await self._admit(request.token, key_of(request.signing_request), identity)
            certificate = self._authority.sign(request.signing_request, admitted.cell, identity.instance)
        except Fault as fault:
            self._count(fault)
            raise
        log.info("cell joined", cell=admitted.cell, instance=identity.instance, took=time.monotonic() - started)
        await stream.send_message(
            wire.JoinReply(
                certificate=certificate,
                authority=self._authority.pem,
                cell=admitted.cell,
                renew_after_seconds=RENEW_AFTER,
                settings=admitted.settings,
            )
        )

    async def Renew(self, stream: Stream[wire.RenewRequest, wire.RenewReply]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        try:
            certificate = self._renewed(request.signing_request, stream.peer)
        except Fault as fault:
            self._count(fault)
            raise
        await stream.send_message(wire.RenewReply(certificate=certificate, renew_after_seconds=RENEW_AFTER))

    def _renewed(self, signing_request: bytes, peer: Peer) -> bytes:
        """The next certificate of a cell that lives, for the key that it has shown. Raises Fault DENIED or INVALID."""
        shown = peer.cert() or {}
        cell, instance = CellName(common_name(shown)), InstanceId(device(shown))
        if not cell:
            raise Fault(Kind.DENIED, "renewal", "no valid certificate of a cell was shown", reason="NoCertificate")
        self._admission().renewable(cell, instance)
        if key_of(signing_request) != key_of_certificate(certificate_shown(peer)):
            cause = "the key is not the one of the certificate that was shown"
            raise Fault(Kind.DENIED, f"renewal of cell {cell}", cause, reason="AnotherKey")
        return self._authority.sign(signing_request, cell, instance)

    async def _admit(self, token: str, key: str, identity: Identity) -> Admitted:
        """Admit once: who asks again while the cell is still written down gets the same answer."""
        work = f"join of {identity.instance} by {key} with {token_hash(token)}"
        return await self._flights.join(work, lambda: self._admission().admit(token, key, identity))

    def _count(self, fault: Fault) -> None:
        self._refused[fault.reason or fault.kind.value] += 1
        log.warning("refused", cause=str(fault), reason=fault.reason)
