"""Join and Renew, as the cells call them. Refusals are logged and counted by their reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from grpclib.server import Stream

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import EnrolmentBase
from cellwire.faults import Fault, Kind
from controller.link.admission import Admission
from controller.link.authority import CELL_LIFE, Authority
from controller.model.instance import Identity
from controller.model.names import CellName

log = structlog.get_logger()
Verifier = Callable[[bytes, bytes], Identity]
RENEW_AFTER = int(CELL_LIFE.total_seconds() * 2 / 3)


def cell_of(certificate: Mapping[str, Any]) -> CellName | None:
    """The cell that a verified client certificate names, in the form that `ssl` decodes it to."""
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return CellName(value)
    return None


class Enrolment(EnrolmentBase):
    """The two calls of a cell that is not, or not for much longer, known."""

    def __init__(
        self,
        authority: Authority,
        admission: Callable[[], Admission],
        verify: Verifier,
        refused: Counter[str],
    ) -> None:
        self._authority = authority
        self._admission = admission
        self._verify = verify
        self._refused = refused

    async def Join(self, stream: Stream[wire.JoinRequest, wire.JoinReply]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        started = time.monotonic()
        try:
            identity = self._verify(request.identity_document, request.identity_signature)
            admitted = await self._admission().admit(request.token, identity)
            certificate = self._authority.sign(request.signing_request, admitted.cell)
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
        cell = cell_of(stream.peer.cert() or {})
        if cell is None:
            fault = Fault(Kind.DENIED, "renewal", "no valid certificate of a cell was shown", reason="NoCertificate")
            self._count(fault)
            raise fault
        certificate = self._authority.sign(request.signing_request, cell)
        await stream.send_message(wire.RenewReply(certificate=certificate, renew_after_seconds=RENEW_AFTER))

    def _count(self, fault: Fault) -> None:
        self._refused[fault.reason or fault.kind.value] += 1
        log.warning("refused", cause=str(fault), reason=fault.reason)
