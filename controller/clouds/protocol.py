"""What the fleet asks of a cloud. Small on purpose: a new cloud is the seven abstract members, and what it
can beside them.

No method retries for long or blocks beyond its caller's deadline; all raise Fault and nothing else:
NO_CAPACITY where the next offer may do, DENIED where a person must act, UNAVAILABLE where later may do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import msgspec

from cellwire.faults import Fault
from controller.model.cell import NoticeKind
from controller.model.instance import Identity, Instance
from controller.model.names import InstanceId
from controller.model.offer import LaunchType, Offer


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One instance to launch. Repeating a `client_token` returns the instance that the first call launched.

    `offers` in order of preference; the cloud takes the first that it can fulfil. `user_data` is text, at most
    16 KiB as the cloud receives it. `tags` go on the instance and all that is made with it. `annotations` are the
    pod's `chinampa.dev/…` requirements that only a cloud understands. `volume_gb` is the least that the root volume is
    to have, `disk_gb` what of it the pod itself may fill.
    """

    client_token: str
    offers: tuple[Offer, ...]
    user_data: str
    tags: dict[str, str] = {}
    annotations: dict[str, str] = {}
    volume_gb: int = 0
    disk_gb: int = 0


class Unfulfilled(msgspec.Struct, frozen=True, kw_only=True):
    """An offer that the cloud refused, with its code: to be remembered as unavailable for a while."""

    type: str
    zone: str
    launch_type: LaunchType
    code: str


class LaunchOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of one request: an instance, or the fault; and what was refused on the way."""

    client_token: str
    instance: Instance | None = None
    fault: Fault | None = None
    unfulfilled: tuple[Unfulfilled, ...] = ()


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud says that something will happen to an instance: `at` is the unix second by which, 0 if unknown. `ends`
    tells that nothing that runs on the instance will outlive it: it is taken back, stopped or booted anew. `impaired`
    tells that the cloud's own check of it fails.
    """

    instance: InstanceId
    kind: NoticeKind
    at: float
    message: str
    ends: bool = False
    impaired: bool = False


class PriceSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where one part of what is known of offers is from: `at` is the unix second at which it was asked for, 0 for what
    came with the code; `fault` says why it is no newer, "" where it is as new as it should be.
    """

    part: str
    source: str
    at: float = 0.0
    fault: str = ""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry is told at a pull."""

    username: str
    password: str


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call of the cloud's API ended so, since the start: `outcome` is "ok" or the cloud's error code;
    `throttled` tells that it was turned away for being one too many.
    """

    service: str
    action: str
    outcome: str
    count: int
    throttled: bool = False


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """Capacity that is paid for beforehand: it is of one type, in one zone."""

    type: str
    zone: str


LoginOf = Callable[[str], Awaitable[Login | None]]
"""`Cloud.login`."""


class Cloud(ABC):
    """Where instances come from. Features that a cloud lacks keep the default, which says so or does nothing."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name: "ec2", "local"."""

    @abstractmethod
    async def offers(self) -> tuple[Offer, ...]:
        """All that can be bought now. Cheap: answered from a cache that the cloud keeps fresh."""

    @abstractmethod
    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        """Launch one instance. A cloud may gather requests of about the same time into one call. Raises nothing."""

    @abstractmethod
    async def instances(self) -> tuple[Instance, ...]:
        """Every instance tagged as this controller's that is not long terminated."""

    @abstractmethod
    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """Ask for the end of these instances; unknown ids are ended already. Idempotent."""

    @abstractmethod
    def verify(self, document: bytes, signature: bytes) -> Identity:
        """Check an identity document against the cloud's certificates. Raises Fault DENIED."""

    @abstractmethod
    def notices(self) -> AsyncGenerator[Notice]:
        """What the cloud announces, as long as the caller iterates."""

    @property
    def image(self) -> str:
        """The machine image that an instance which is launched now would boot; "" where there is none, or not known."""
        return ""

    @property
    def price_sources(self) -> tuple[PriceSource, ...]:
        """Source and age of each part of the offers."""
        return (PriceSource(part="all", source=self.name),)

    def called(self) -> tuple[Called, ...]:
        """Calls of the cloud's API, by service, action and outcome."""
        return ()

    async def login(self, image: str) -> Login | None:
        """Login for a pull of this image reference, of a registry that is the cloud's own; None for others.

        Raises Fault.
        """
        return None

    def share(self, image: str, login: Login | None, image_id: str = "") -> None:
        """Have the layers of an image, which this login may pull, where instances of one machine find them. Returns at
        once. `image_id` is what an instance pulled by that reference just now, if one did.
        """
        return

    def route(self, wanted: Mapping[InstanceId, tuple[str, ...]]) -> None:
        """Routes from now on: these networks (CIDR) lead to these instances, and none to others. Returns at once."""
        return

    def tag(self, wanted: Mapping[InstanceId, Mapping[str, str]]) -> None:
        """Tags that these instances, and what was made with them, are to have beside those that they have, soon.

        Returns at once. To ask for what is there or on its way costs nothing.
        """
        return

    async def reserved(self, annotations: Mapping[str, str]) -> Reserved | None:
        """Capacity that these annotations reserve; None where they name none, or leave the choice. Raises Fault."""
        return None

    async def console(self, instance: InstanceId) -> str:
        """Last lines of the console of an instance, also some time after its end; "" where there are none (yet).

        Written by the instance, so not to be believed. Raises Fault.
        """
        return ""
