"""Requirements: what a pod's `chinampa.dev/…` annotations ask of its instance. Pure.

An annotation of ours that nobody knows is refused by name: a typo must not launch the wrong machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_network
from posixpath import normpath
from typing import Any, TypeVar

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.quantity import mebibytes
from controller.model.offer import LaunchType

PREFIX = "chinampa.dev/"
TENANCIES = frozenset({"default", "dedicated", "host"})
T = TypeVar("T")


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the choice. Empty means "any", but for `architectures`, where empty means what the pod's demand says.

    `types` and `denied_types` are shell patterns ("c7i.*"); `max_price` in USD per hour; `volume_gb` is the size of the
    root volume; `tenancy` as EC2 has it.
    """

    types: tuple[str, ...] = ()
    denied_types: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    launch_types: tuple[LaunchType, ...] = (LaunchType.ON_DEMAND,)
    max_price: float = 0.0
    any_generation: bool = False
    bare_metal: bool = False
    burstable: bool = True
    gpu_name: str = ""
    network_mbps: int = 0
    volume_gb: int = 0
    tenancy: str = ""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _yes(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return text == "true"


def _launch_types(text: str) -> tuple[LaunchType, ...]:
    found = tuple(LaunchType(word) for word in _words(text))
    if not found:
        raise ValueError('it must be "on-demand", "spot" or "spot,on-demand"')
    return found


def _generation(text: str) -> bool:
    if text not in {"current", "any"}:
        raise ValueError('it must be "current" or "any"')
    return text == "any"


def _plain(text: str) -> str:
    """The text of a number, unless it is one in Python alone: "1_000", or digits of other scripts."""
    if not text.isascii() or "_" in text:
        raise ValueError("it must be a number of the digits 0 to 9")
    return text


def _price(text: str) -> float:
    price = float(_plain(text))
    if not 0 < price < float("inf"):
        raise ValueError("it must be a price in USD per hour above 0")
    return price


def _tenancy(text: str) -> str:
    if text.strip() not in TENANCIES:
        raise ValueError(f"it must be one of {', '.join(sorted(TENANCIES))}")
    return text.strip()


def _size(text: str) -> int:
    size = int(_plain(text).removesuffix("Gi").removesuffix("G"))
    if not 1 <= size <= 65536:
        raise ValueError("it must be 1 to 65536 GiB")
    return size


def _count(text: str) -> int:
    count = int(_plain(text))
    if not 1 <= count <= 1_000_000:
        raise ValueError("it must be a whole number above 0")
    return count


def networks(text: str) -> tuple[str, ...]:
    """Networks in CIDR notation, comma-separated. Raises ValueError."""
    found = tuple(str(ip_network(word)) for word in _words(text))
    if not found:
        raise ValueError('it must be networks in CIDR notation ("10.8.0.0/24")')
    return found


def devices(text: str) -> tuple[str, ...]:
    """Paths of devices, comma-separated. Raises ValueError."""
    found = _words(text)
    for path in found:
        if not path.startswith("/dev/") or normpath(path) != path:
            raise ValueError(f'{path} is no path of a device ("/dev/fuse")')
    return found


# Annotation → field of Requirements and how its text is read.
READ: dict[str, tuple[str, Callable[[str], Any]]] = {
    "instance-type": ("types", _words),
    "instance-type-deny": ("denied_types", _words),
    "instance-family": ("families", _words),
    "zone": ("zones", _words),
    "architecture": ("architectures", _words),
    "launch-type": ("launch_types", _launch_types),
    "max-price": ("max_price", _price),
    "generation": ("any_generation", _generation),
    "bare-metal": ("bare_metal", _yes),
    "burstable": ("burstable", _yes),
    "gpu-name": ("gpu_name", str.lower),
    "network-mbps": ("network_mbps", _count),
    "volume-size": ("volume_gb", _size),
    "tenancy": ("tenancy", _tenancy),
}
# What the kubelet of a sandbox does not say: annotation → field of the demand and how its text is read.
OF_DEMAND: dict[str, tuple[str, Callable[[str], int]]] = {"memory": ("memory_mib", mebibytes), "gpus": ("gpus", _count)}
# Annotations that mean something to a cloud, not to the choice.
OF_CLOUDS = frozenset(
    {
        "volume-type",
        "security-groups",
        "instance-profile",
        "cloud-route",
        "public-address",
        "capacity-reservation",
        "metadata",
    }
)

# What a pod is told of its cell, where the pods API shows it: no requirements, and no typos when a manifest is sent
# again.
SHOWN = ("cell-type", "cell-launch-type", "cell-zone", "hourly-price")


# Those of them whose text is checked here, so that it is refused before anything is launched.
CHECKED: dict[str, Callable[[str], Any]] = {"cloud-route": networks, "devices": devices}


class ImpliedDemand(msgspec.Struct, frozen=True):
    """Demand that annotations add to a pod's own."""

    memory_mib: int = 0
    gpus: int = 0


def within(requirements: Requirements, type_name: str, zone: str) -> Requirements:
    """The requirements of a pod for which capacity of this type is reserved in this zone: that type, whatever it is."""
    return msgspec.structs.replace(
        requirements,
        types=(type_name,),
        denied_types=(),
        families=(),
        zones=(zone,),
        any_generation=True,
        bare_metal=True,
        burstable=True,
    )


def read(annotations: Mapping[str, str]) -> Requirements:
    """The requirements in a pod's annotations. Raises Fault INVALID naming one that is unknown or unreadable."""
    fields: dict[str, Any] = {}
    for name, text in _ours(annotations):
        if name in READ:
            field, parse = READ[name]
            fields[field] = _parsed(name, text, parse)
        elif name in CHECKED:
            _parsed(name, text, CHECKED[name])
        elif name not in OF_CLOUDS and name not in OF_DEMAND and name not in SHOWN:
            known = ", ".join(sorted({*READ, *OF_DEMAND, *OF_CLOUDS, *CHECKED}))
            raise Fault(
                Kind.INVALID, f"annotation {PREFIX}{name}", "there is no such annotation", f"known are: {known}"
            )
    return Requirements(**fields)


def of_demand(annotations: Mapping[str, str]) -> ImpliedDemand:
    """What annotations say of the demand. Raises Fault INVALID for one that cannot be read."""
    fields: dict[str, int] = {}
    for name, text in _ours(annotations):
        if name in OF_DEMAND:
            field, parse = OF_DEMAND[name]
            fields[field] = _parsed(name, text, parse)
    return ImpliedDemand(**fields)


def _ours(annotations: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, text in annotations.items():
        if key.startswith(PREFIX):
            if not isinstance(text, str):
                raise Fault(Kind.INVALID, f"annotation {key}: {text!r}", "it is no text", "put it in quotes")
            yield key.removeprefix(PREFIX), text


def _parsed(name: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except (ValueError, Fault) as error:
        raise Fault(Kind.INVALID, f"annotation {PREFIX}{name}: {text!r}", str(error)) from error


def type_required(requirements: Requirements, type_name: str) -> bool:
    """Whether allow list, deny list and families let a type pass."""
    if requirements.types and not any(fnmatchcase(type_name, pattern) for pattern in requirements.types):
        return False
    if any(fnmatchcase(type_name, pattern) for pattern in requirements.denied_types):
        return False
    return not requirements.families or type_name.split(".", maxsplit=1)[0] in requirements.families
