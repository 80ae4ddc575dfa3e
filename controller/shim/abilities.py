"""What cells can do, for the questions that a kubelet asks of a whole node: runtime features, names of metrics.

All cells of a cluster boot one image, so any connected cell is asked, once.
"""

from __future__ import annotations

import structlog

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from controller.fleet.cells import Cells

log = structlog.get_logger()
DEADLINE = 2.0
HANDLERS = ("", "chinampa")


class Abilities:
    """Asked of the first cell that answers; until then what every cell can do."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._known = False
        self._features = cri.RuntimeFeatures(supplemental_groups_policy=True)
        self._handlers = tuple(
            cri.RuntimeHandler(name=name, features=cri.RuntimeHandlerFeatures()) for name in HANDLERS
        )
        self._descriptors: tuple[cri.MetricDescriptor, ...] = ()

    async def status(self) -> cri.StatusResponse:
        """Ready, whatever single cells are: a node without cells takes pods as well."""
        await self._learn()
        conditions = [cri.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")]
        return cri.StatusResponse(
            status=cri.RuntimeStatus(conditions=conditions), runtime_handlers=self._handlers, features=self._features
        )

    async def descriptors(self) -> tuple[cri.MetricDescriptor, ...]:
        """What the metrics are called; none before there was a cell."""
        await self._learn()
        return self._descriptors

    async def _learn(self) -> None:
        for cell in () if self._known else self._cells.list():
            if not cell.connected:
                continue
            try:
                stub = runtime_grpc.RuntimeServiceStub(self._cells.channel(cell.name))
                found = await call(stub.ListMetricDescriptors, cri.ListMetricDescriptorsRequest(), deadline=DEADLINE)
                status = await call(stub.Status, cri.StatusRequest(), deadline=DEADLINE)
            except Fault as fault:
                log.info("a cell did not say what it can do", cell=cell.name, cause=str(fault))
                continue
            self._descriptors, self._features = tuple(found.descriptors), status.features
            self._handlers = tuple(one for one in status.runtime_handlers if one.name in HANDLERS)
            self._known = True
            return
