"""What a pod's `chinampa.dev/…` annotations ask of its instance. Pure.

An annotation of ours that nobody knows is refused by name: a typo must not launch the wrong machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.model.offer import LaunchType

PREFIX = "chinampa.dev/"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the choice. Empty means "any", but for `architectures`, where empty means what the pod's demand says.

    `types` and `denied_types` are shell patterns ("c7i.*"); `launch_types` in order of preference; `max_price` in USD
    per hour. `volume_gb` is the size of the root volume.
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


def _price(text: str) -> float:
    price = float(text)
    if not 0 < price < float("inf"):
        raise ValueError("it must be a price in USD per hour above 0")
    return price


def _size(text: str) -> int:
    size = int(text.removesuffix("Gi").removesuffix("G"))
    if not 1 <= size <= 65536:
        raise ValueError("it must be 1 to 65536 GiB")
    return size


# Annotation → field of Wishes and how its text is read.
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
    "network-mbps": ("network_mbps", int),
    "volume-size": ("volume_gb", _size),
}
# Annotations that mean something to a cloud, not to the choice.
OF_CLOUDS = frozenset(
    {
        "volume-type",
        "security-groups",
        "instance-profile",
        "cloud-route",
        "public-address",
        "tenancy",
        "capacity-reservation",
        "metadata",
    }
)


def read(annotations: Mapping[str, str]) -> Wishes:
    """The wishes in a pod's annotations. Raises Fault INVALID naming an annotation that is unknown or unreadable."""
    fields: dict[str, Any] = {}
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name in OF_CLOUDS:
            continue
        if name not in READ:
            known = ", ".join(sorted({*READ, *OF_CLOUDS}))
            raise Fault(Kind.INVALID, f"annotation {key}", "there is no such annotation", f"known are: {known}")
        field, parse = READ[name]
        try:
            fields[field] = parse(text)
        except ValueError as error:
            raise Fault(Kind.INVALID, f"annotation {key}: {text!r}", str(error)) from error
    return Wishes(**fields)


def type_wished(wishes: Wishes, type_name: str) -> bool:
    """Whether allow list, deny list and families let a type pass."""
    if wishes.types and not any(fnmatchcase(type_name, pattern) for pattern in wishes.types):
        return False
    if any(fnmatchcase(type_name, pattern) for pattern in wishes.denied_types):
        return False
    return not wishes.families or type_name.split(".", maxsplit=1)[0] in wishes.families
