"""A cloud in memory, for tests of what decides. It passes the contract of clouds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Cloud, LaunchOutcome, LaunchRequest, Notice, Reserved, Unfulfilled
from controller.model.instance import Identity, Instance, InstanceState
from controller.model.names import InstanceId
from controller.model.offer import LaunchType, Offer, Shape

KINDS = {"UnauthorizedOperation": Kind.DENIED, "RequestLimitExceeded": Kind.UNAVAILABLE}
SIZES = (("small", 500, 512, 0.01), ("medium", 1000, 2048, 0.02), ("large", 4000, 8192, 0.08))


def offers() -> tuple[Offer, ...]:
    """Three types in one zone, on demand and spot."""
    return tuple(
        Offer(
            shape=Shape(type=name, architecture="amd64", cpu_millis=cpu, memory_mib=memory, baseline_millis=cpu),
            zone="a",
            launch_type=launch_type,
            usd_per_hour=price * share,
        )
        for name, cpu, memory, price in SIZES
        for launch_type, share in ((LaunchType.ON_DEMAND, 1.0), (LaunchType.SPOT, 0.3))
    )


class FakeCloud(Cloud):
    """See `controller.clouds.protocol.Cloud`. `refusals`: type → code. `before` and `after` are called
    around each call. What was launched less than `lag` seconds ago is not listed yet."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.known: dict[InstanceId, Instance] = {}
        self.refusals: dict[str, str] = {}
        self.requests: list[LaunchRequest] = []
        self.before: Callable[[str], None] = lambda call: None
        self.after: Callable[[str], None] = lambda call: None
        self.lag = 0.0
        self.reservations: dict[str, Reserved] = {}
        self.told: asyncio.Queue[Notice] = asyncio.Queue()
        self._clock = clock
        self._offers = offers()

    @property
    def name(self) -> str:
        return "fake"

    async def offers(self) -> tuple[Offer, ...]:
        return self._offers

    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        self.before("launch")
        outcome = self._launch(request)
        self.after("launch")
        return outcome

    async def instances(self) -> tuple[Instance, ...]:
        self.before("instances")
        seen_until = self._clock() - self.lag
        return tuple(one for one in self.known.values() if one.launched_at <= seen_until)

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        self.before("terminate")
        for name in instances:
            if name in self.known:
                self.end(name, "Client.UserInitiatedShutdown")
        self.after("terminate")

    def verify(self, document: bytes, signature: bytes) -> Identity:
        if signature != b"signed":
            raise Fault(Kind.DENIED, "identity document", "its signature is not the cloud's")
        return self.identity(InstanceId(document.decode()))

    async def reserved(self, annotations: Mapping[str, str]) -> Reserved | None:
        return self.reservations.get(annotations.get("chinampa.dev/capacity-reservation", ""))

    async def notices(self) -> AsyncGenerator[Notice]:
        while True:
            yield await self.told.get()

    def identity(self, instance: InstanceId) -> Identity:
        one = self.known[instance]
        return Identity(instance=instance, account="1", region="r", zone=one.zone, type=one.type, address=one.address)

    def alive(self) -> tuple[Instance, ...]:
        return tuple(one for one in self.known.values() if one.state is InstanceState.RUNNING)

    def end(self, name: InstanceId, reason: str) -> None:
        self.known[name] = msgspec.structs.replace(
            self.known[name], state=InstanceState.TERMINATED, state_reason=reason
        )

    def forget(self, name: InstanceId) -> None:
        del self.known[name]

    def _launch(self, request: LaunchRequest) -> LaunchOutcome:
        self.requests.append(request)
        token = request.client_token
        for one in self.known.values():
            if one.client_token == token:
                return LaunchOutcome(client_token=token, instance=one)
        refused: list[Unfulfilled] = []
        for offer in request.offers:
            code = self.refusals.get(offer.shape.type, "")
            if not code:
                return LaunchOutcome(
                    client_token=token, instance=self._started(request, offer), unfulfilled=tuple(refused)
                )
            refused.append(Unfulfilled(type=offer.shape.type, zone="a", launch_type=offer.launch_type, code=code))
            if code in KINDS:
                return LaunchOutcome(client_token=token, fault=Fault(KINDS[code], "launch", code))
        fault = Fault(Kind.INVALID, "launch", "the request has no offers")
        if refused:
            fault = Fault(Kind.NO_CAPACITY, refused[-1].type, refused[-1].code)
        return LaunchOutcome(client_token=token, fault=fault, unfulfilled=tuple(refused))

    def _started(self, request: LaunchRequest, offer: Offer) -> Instance:
        number = len(self.known) + 1
        instance = Instance(
            id=InstanceId(f"i-{number:08x}"),
            state=InstanceState.RUNNING,
            type=offer.shape.type,
            zone=offer.zone,
            launch_type=offer.launch_type,
            client_token=request.client_token,
            address=f"10.0.{number >> 8}.{number & 255}",
            pod_address=f"10.1.{number >> 8}.{number & 255}",
            launched_at=self._clock(),
            tags=dict(request.tags),
        )
        self.known[instance.id] = instance
        return instance
