"""The gate: what a cell tells, held against what is recorded as its own. Pure: a message in, a message out, or a fault.

A cell is somebody else's computer. It may speak of its own sandbox and containers only, and every length, count and
number that it can choose is bounded here before it is kept. What no honest agent says is a fault with reason `UNTRUE`,
which ends the cell's session; what is merely long is cut. Paths are never told: mounts and log paths are dropped here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

import msgspec

from cellwire.addresses import is_address
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind, legible

UNTRUE = "Untrue"
# As agents make ids, and as other runtimes do.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# Reasons are words; messages have what a kubelet reads of a termination message; names are references.
REASON, MESSAGE, NAME = 256, 4 << 10, 4 << 10
# A kubelet keeps one ended container of each that runs; who lists more lists what nobody made.
MOST_CONTAINERS, MOST_IMAGES, MOST_ADDRESSES = 1000, 10_000, 16
# Of one status, image, or container's stats: an honest one is some KiB.
LARGEST_PART = 256 << 10
# Of all stats, or all that is known of an image, of one cell.
LARGEST_ALL = 1 << 20
# What an API server takes in an exec's answer, and a kubelet in a message.
LARGEST_OUTPUT = 16 << 20
# Of a name in DNS, as RFC 1035 has it, and the highest number of a type.
LONGEST_NAME, HIGHEST_TYPE = 255, 0xFFFF
# Nanoseconds since 1970, in the year 2116: clocks may be wrong, but not without end.
LATEST = 1 << 62
STATES = frozenset({cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED, cri.CONTAINER_UNKNOWN})


def untrue(thing: str, cause: str) -> Fault:
    """What ends a cell's session."""
    return Fault(Kind.BROKEN, thing, cause, reason=UNTRUE)


def identifier(told: str, what: str) -> str:
    """An id that a cell has chosen. Raises Fault."""
    if not _ID.fullmatch(told):
        raise untrue(what, f"the cell gives it an id of {len(told)} characters that is none")
    return told


def fresh(told: str, what: str, known: Callable[[str], bool]) -> str:
    """The id of something that the cell has just made, and that nobody knows yet. Raises Fault."""
    if known(identifier(told, what)):
        raise untrue(what, f"the cell gives it the id {told[:13]}, which is another's")
    return told


def container(told: cri.ContainerStatus, wanted: str) -> cri.ContainerStatus:
    """The status of the container that was asked for. Raises Fault."""
    thing = f"status of container {wanted[:13]}"
    if told.id != wanted:
        raise untrue(thing, "the cell tells of another container")
    _small(told, thing)
    if told.state not in STATES:
        raise untrue(thing, f"there is no state {told.state}")
    _moments((told.created_at, told.started_at, told.finished_at), thing)
    _names((told.image.image, told.image.user_specified_image, told.image_ref, told.image_id), thing)
    checked = cri.ContainerStatus()
    checked.CopyFrom(told)
    checked.reason, checked.message = legible(told.reason[:REASON]), legible(told.message[:MESSAGE])
    checked.log_path = ""
    for mount in checked.mounts:
        mount.host_path = ""
    return checked


def sandbox(told: cri.PodSandboxStatus, wanted: str, recorded: Collection[str] = ()) -> cri.PodSandboxStatus:
    """The status of the sandbox that was asked for, with those of its addresses that are recorded. Raises Fault."""
    thing = f"status of sandbox {wanted[:13]}"
    if told.id != wanted:
        raise untrue(thing, "the cell tells of another sandbox")
    _small(told, thing)
    if told.state not in {cri.SANDBOX_READY, cri.SANDBOX_NOTREADY}:
        raise untrue(thing, f"there is no state {told.state}")
    _moments((told.created_at,), thing)
    found = addresses(told, recorded)
    checked = cri.PodSandboxStatus()
    checked.CopyFrom(told)
    checked.network.ip = found[0] if found else ""
    del checked.network.additional_ips[:]
    checked.network.additional_ips.extend(cri.PodIP(ip=one) for one in found[1:])
    return checked


class News(msgspec.Struct, frozen=True):
    """What an event tells: of the sandbox, if anything, and of those of its containers that are known."""

    sandbox: cri.PodSandboxStatus | None
    containers: tuple[cri.ContainerStatus, ...]


def event(
    told: cri.ContainerEventResponse,
    sandbox_id: str,
    owner_of: Callable[[str], str | None],
    recorded: Collection[str] = (),
) -> News:
    """An event of a cell whose sandbox this is. A container that nobody knows is passed over. Raises Fault."""
    thing = f"event of sandbox {sandbox_id[:13]}"
    _few(len(told.containers_statuses), MOST_CONTAINERS, thing)
    about = None
    if told.HasField("pod_sandbox_status"):
        about = sandbox(told.pod_sandbox_status, sandbox_id, recorded)
    known: list[cri.ContainerStatus] = []
    for status in told.containers_statuses:
        owner = owner_of(status.id)
        if owner is not None and owner != sandbox_id:
            raise untrue(thing, f"it tells of container {status.id[:13]}, which is another's")
        if owner is not None:
            known.append(container(status, status.id))
    return News(about, tuple(known))


def addresses(told: cri.PodSandboxStatus, recorded: Collection[str] = ()) -> tuple[str, ...]:
    """The pod's addresses, the first one first; no others than are recorded, if any are. Raises Fault."""
    if len(told.network.additional_ips) > MOST_ADDRESSES:
        raise untrue("the pod's addresses", f"the cell tells {len(told.network.additional_ips)} of them")
    found = [one for one in (told.network.ip, *(one.ip for one in told.network.additional_ips)) if one]
    for one in found:
        _address(one, "the pod's addresses")
    return tuple(one for one in found if not recorded or one in recorded)


class Made(msgspec.Struct, frozen=True):
    """A container that a cell lists: its id, name, and which attempt at it."""

    id: str
    name: str
    attempt: int


def containers(told: cri.ListContainersResponse, sandbox_id: str) -> tuple[Made, ...]:
    """The containers of a sandbox, as a cell lists them when asked for those. Raises Fault."""
    thing = f"containers of sandbox {sandbox_id[:13]}"
    _few(len(told.containers), MOST_CONTAINERS, thing)
    for one in told.containers:
        if one.pod_sandbox_id not in {"", sandbox_id}:
            raise untrue(thing, "the cell tells of another sandbox")
        _names((one.metadata.name,), thing)
    return tuple(Made(identifier(one.id, thing), one.metadata.name, one.metadata.attempt) for one in told.containers)


def image(told: cri.Image) -> cri.Image:
    """An image that a cell has. Raises Fault."""
    _small(told, f"image {told.id[:80]}")
    _names((told.id,), "image")
    return told


def images(told: Collection[cri.Image]) -> tuple[cri.Image, ...]:
    """The images that a cell has. Raises Fault."""
    _few(len(told), MOST_IMAGES, "images")
    return tuple(image(one) for one in told)


def described(told: cri.ImageStatusResponse) -> cri.ImageStatusResponse:
    """An image, with what a cell knows of it. Raises Fault."""
    if told.ByteSize() > LARGEST_ALL:
        raise untrue("image", f"what the cell knows of it has {told.ByteSize()} bytes")
    image(told.image)
    return told


def abilities(told: cri.StatusResponse, handlers: Collection[str]) -> cri.StatusResponse:
    """The features of a cell's runtime that a kubelet asks for, and nothing else of what it tells. Raises Fault."""
    if told.ByteSize() > LARGEST_PART:
        raise untrue("the runtime's abilities", f"they have {told.ByteSize()} bytes")
    by_name = {one.name: one.features for one in told.runtime_handlers}
    return cri.StatusResponse(
        features=_known(told.features, cri.RuntimeFeatures()),
        runtime_handlers=[
            cri.RuntimeHandler(name=name, features=_known(by_name[name], cri.RuntimeHandlerFeatures()))
            for name in handlers
            if name in by_name
        ],
    )


def reference(told: str) -> str:
    """What a cell calls an image that it has pulled. Raises Fault."""
    if not told or len(told) > NAME or not told.isprintable():
        raise untrue("the pulled image", f"the cell gives it a name of {len(told)} characters that is none")
    return told


def file_end(told: bytes, limit: int) -> bytes:
    """The end of a file, no more of it than was asked for."""
    return told[max(len(told) - limit, 0) :]


def output(told: cri.ExecSyncResponse) -> cri.ExecSyncResponse:
    """What a command printed and how it ended. Raises Fault."""
    if told.ByteSize() > LARGEST_OUTPUT:
        raise untrue("the output of a command", f"it has {told.ByteSize()} bytes")
    return told


class Used(msgspec.Struct, frozen=True):
    """Usage of a container: nanoseconds of CPU since its start, at a moment of the cell's clock, and the bytes of
    memory that it works with; and the bytes of its writable layer.
    """

    at_ns: int
    cpu_ns: int
    memory_bytes: int
    layer_bytes: int = 0


def used(told: cri.ListContainerStatsResponse, sandbox_id: str, own: Collection[str]) -> dict[str, Used]:
    """What each of these containers has used; what the cell tells of others is left out. Raises Fault."""
    thing = f"stats of sandbox {sandbox_id[:13]}"
    _few(len(told.stats), MOST_CONTAINERS, thing)
    found: dict[str, Used] = {}
    for one in told.stats:
        if one.attributes.id in own:
            numbers = (one.cpu.usage_core_nano_seconds.value, one.memory.working_set_bytes.value)
            layer = one.writable_layer.used_bytes.value
            _moments((one.cpu.timestamp, *numbers, layer), thing)
            found[one.attributes.id] = Used(one.cpu.timestamp, *numbers, layer)
    return found


def sizes(told: Sequence[int], folders: Sequence[str]) -> tuple[int, ...]:
    """Bytes of each folder that was asked for. Raises Fault."""
    if len(told) != len(folders):
        raise untrue("the sizes of folders", f"it tells {len(told)} of {len(folders)}")
    _moments(told, "the sizes of folders")
    return tuple(told)


class NameQuery(msgspec.Struct, frozen=True):
    """A name that a cell's pod asks for, what the answer is told back with, and the type as DNS numbers it."""

    id: int
    name: str
    type: int


class Dialled(msgspec.Struct, frozen=True):
    """An address of a Service's that a cell's pod has dialled, and that the cell does not hold."""

    address: str


class Unapplied(msgspec.Struct, frozen=True):
    """Why the kernel of a cell does not hold what it was told."""

    cause: str


def services(
    told: wire.ServicesOutput, sequence: int, unconfirmed: int
) -> NameQuery | Dialled | Unapplied | int | None:
    """What a cell tells of Services: the sequence that its kernel holds is a number; None is what later agents may say.
    `sequence` is the last that it was told, `unconfirmed` are the changes whose end it has not told yet. Raises Fault.

    The bytes of a name are the pod's own, and any that DNS carries are no lie of the cell.
    """
    thing = "Services"
    kind = told.WhichOneof("output")
    if kind in {"applied", "failure"} and unconfirmed < 1:
        raise untrue(thing, "the cell tells of a change that nobody sent")
    match kind:
        case "question":
            name = told.question.name
            if len(name) > LONGEST_NAME or any(ord(one) > 0xFF for one in name) or told.question.type > HIGHEST_TYPE:
                raise untrue(thing, f"the cell asks for a name of {len(name)} characters that DNS cannot carry")
            return NameQuery(told.question.id, name, told.question.type)
        case "dialled":
            _address(told.dialled, "an address that the pod has dialled")
            return Dialled(told.dialled)
        case "applied":
            if told.applied > sequence:
                raise untrue(thing, f"the cell holds change {told.applied}, and was told {sequence}")
            return told.applied
        case "failure":
            return Unapplied(legible(told.failure.message[:REASON]))
        case _:
            return None


class Pace:
    """Rate at which a cell may send: `burst` at once, and `rate` for each second after. Time comes in."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Whether the cell may say so much more now."""
        return self.wait(cost, now) == 0

    def wait(self, cost: float, now: float) -> float:
        """After how many seconds the cell may have said so much more."""
        self._left = min(self._left + (now - self._at) * self._rate, self._burst) - cost
        self._at = now
        return max(-self._left / self._rate, 0.0)

    def full(self, now: float) -> bool:
        """Whether the cell may say as much as one that has said nothing yet."""
        return self._left + (now - self._at) * self._rate >= self._burst


class Paces:
    """The pace of each of many, by name. Nothing is kept of who has been quiet for long: a new pace is as full."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._by_name: dict[str, Pace] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, name: str, now: float) -> Pace:
        """Its pace, made where there is none."""
        if name not in self._by_name:
            self._by_name = {other: pace for other, pace in self._by_name.items() if not pace.full(now)}
            self._by_name[name] = Pace(self._rate, self._burst, now)
        return self._by_name[name]


Features = TypeVar("Features", cri.RuntimeFeatures, cri.RuntimeHandlerFeatures)


def _known(told: Features, made: Features) -> Features:
    """The features of which we know: each is there or not."""
    for field in made.DESCRIPTOR.fields:
        setattr(made, field.name, getattr(told, field.name))
    return made


def _small(told: cri.ContainerStatus | cri.PodSandboxStatus | cri.Image, thing: str) -> None:
    if told.ByteSize() > LARGEST_PART:
        raise untrue(thing, f"it has {told.ByteSize()} bytes")


def _address(told: str, thing: str) -> None:
    if not is_address(told):
        raise untrue(thing, f"{told[:50]!r} is none")


def _few(count: int, most: int, thing: str) -> None:
    if count > most:
        raise untrue(thing, f"the cell tells {count} of them")


def _moments(told: Iterable[int], thing: str) -> None:
    if any(not 0 <= moment <= LATEST for moment in told):
        raise untrue(thing, "it is of a time that cannot be")


def _names(told: Iterable[str], thing: str) -> None:
    if any(len(name) > NAME for name in told):
        raise untrue(thing, f"a name in it is longer than {NAME}")
