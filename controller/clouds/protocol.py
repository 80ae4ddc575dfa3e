"""What the fleet asks of a cloud. Small on purpose: a new cloud is these six methods.

No method retries for long or blocks beyond its caller's deadline; all raise Fault and nothing else:
NO_CAPACITY where the next offer may do, DENIED where a person must act, UNAVAILABLE where later may do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from controller.model.instance import Identity, Instance
from controller.model.names import InstanceId
from controller.model.offer import Offer


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One instance to launch. Repeating a `client_token` returns the instance that the first call launched.

    `offers` in order of preference; the cloud takes the first that it can fulfil. `user_data` is text, at most
    16 KiB as the cloud receives it. `tags` go on the instance and all that is made with it. `annotations` are the
    pod's `chinampa.dev/…` wishes that only a cloud understands. `volume_gb` is the least that the root volume is to
    have, `disk_gb` what of it the pod itself may fill.
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
    launch_type: str
    code: str


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of one request: an instance, or the fault in words; and what was refused on the way."""

    client_token: str
    instance: Instance | None = None
    fault: str = ""
    fault_kind: str = ""
    unfulfilled: tuple[Unfulfilled, ...] = ()


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud says that something will happen to an instance: `kind` is interruption, rebalance, maintenance,
    state-change; `at` is the unix second by which, 0 if unknown. `ends` tells that nothing that runs on the instance
    will outlive it: it is taken back, stopped or booted anew. `impaired` tells that the cloud's own check of it fails.
    """

    instance: InstanceId
    kind: str
    at: float
    message: str
    ends: bool = False
    impaired: bool = False


@runtime_checkable
class Imaged(Protocol):
    """A cloud whose instances boot a machine image, which may be replaced by a newer one."""

    @property
    def image(self) -> str:
        """What an instance that is launched now would boot; "" while that is not known."""
        ...


class PriceSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where one part of what is known of offers is from: `at` is the unix second at which it was asked for, 0 for what
    came with the code; `fault` says why it is no newer, "" where it is as new as it should be.
    """

    part: str
    source: str
    at: float = 0.0
    fault: str = ""


@runtime_checkable
class Priced(Protocol):
    """A cloud that can say where its prices are from."""

    @property
    def price_sources(self) -> tuple[PriceSource, ...]:
        """Source and age of each part of the offers."""
        ...


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


@runtime_checkable
class Counted(Protocol):
    """A cloud that counts what it asks of an API."""

    def called(self) -> tuple[Called, ...]:
        """Every call by service, action and outcome."""
        ...


LoginOf = Callable[[str], Awaitable[Login | None]]
"""`Logins.login` of a cloud that has it."""


@runtime_checkable
class Logins(Protocol):
    """A cloud with image registries of its own, to which the controller can log its cells in."""

    async def login(self, image: str) -> Login | None:
        """For a pull of this image reference; None where the image is in no registry of the cloud. Raises Fault."""
        ...


@runtime_checkable
class Routed(Protocol):
    """A cloud whose networks can lead addresses beyond an instance's own to it."""

    def route(self, wanted: Mapping[InstanceId, tuple[str, ...]]) -> None:
        """From now on these instances have these networks (CIDR), and no others have any. Returns at once."""
        ...


@runtime_checkable
class Tagged(Protocol):
    """A cloud that can change the tags of an instance after its launch."""

    def tag(self, wanted: Mapping[InstanceId, Mapping[str, str]]) -> None:
        """These instances, and what was made with them, are to have these tags beside those that they have, soon.

        Returns at once. To ask for what is there or on its way costs nothing.
        """
        ...


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """Capacity that is paid for beforehand: it is of one type, in one zone."""

    type: str
    zone: str


@runtime_checkable
class Reserving(Protocol):
    """A cloud at which capacity can be reserved."""

    async def reserved(self, annotations: Mapping[str, str]) -> Reserved | None:
        """What of it these annotations name; None where they name none, or leave the choice. Raises Fault."""
        ...


@runtime_checkable
class Consoled(Protocol):
    """A cloud that keeps what an instance wrote to its console, also some time after its end."""

    async def console(self, instance: InstanceId) -> str:
        """The last lines, "" where there are none yet. Written by the instance, so not to be believed. Raises Fault."""
        ...


class Cloud(Protocol):
    """Where instances come from."""

    @property
    def name(self) -> str:
        """Short name: "ec2", "local"."""
        ...

    async def offers(self) -> tuple[Offer, ...]:
        """All that can be bought now. Cheap: answered from a cache that the cloud keeps fresh."""
        ...

    async def launch(self, requests: Sequence[LaunchRequest]) -> tuple[Launched, ...]:
        """Launch one instance per request, in as few calls as the cloud allows; one outcome per request, in order."""
        ...

    async def instances(self) -> tuple[Instance, ...]:
        """Every instance tagged as this controller's that is not long terminated."""
        ...

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """Ask for the end of these instances; unknown ids are ended already. Idempotent."""
        ...

    def verify(self, document: bytes, signature: bytes) -> Identity:
        """Check an identity document against the cloud's certificates. Raises Fault DENIED."""
        ...

    def notices(self) -> AsyncGenerator[Notice]:
        """What the cloud announces, as long as the caller iterates."""
        ...
