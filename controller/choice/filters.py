"""Why an offer does not do for a pod, one named question each. Pure.

Each filter answers with the reason in words, or "" where the offer passes, so that "why not" comes for free.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.choice.requirements import Requirements, type_required
from controller.model.offer import Demand, Offer

# Where neither pod nor annotation says for which processor the image was built.
DEFAULT_ARCHITECTURES = ("amd64",)

Filter = Callable[[Demand, Requirements, Offer], str]


def architecture(demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether the image can run on its processor."""
    wanted = requirements.architectures or demand.architectures or DEFAULT_ARCHITECTURES
    has = offer.shape.architecture
    return "" if has in wanted else f"it is {has}, the pod needs {' or '.join(wanted)}"


def cpu(demand: Demand, _requirements: Requirements, offer: Offer) -> str:
    """Whether it has the CPU."""
    has = offer.shape.cpu_millis
    return "" if has >= demand.cpu_millis else f"it has {has}m CPU of {demand.cpu_millis}m"


def memory(demand: Demand, _requirements: Requirements, offer: Offer) -> str:
    """Whether it has the memory."""
    has = offer.shape.memory_mib
    return "" if has >= demand.memory_mib else f"it has {has} MiB memory of {demand.memory_mib} MiB"


def gpu(demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether it has the GPUs; an instance with GPUs is not for a pod that asks for none."""
    gpus = offer.shape.gpus
    if not demand.gpus:
        return "it has GPUs that the pod does not ask for" if gpus else ""
    if gpus is None or gpus.count < demand.gpus:
        return f"it has {gpus.count if gpus else 0} GPUs of {demand.gpus}"
    if demand.gpu_vendor and gpus.vendor and demand.gpu_vendor != gpus.vendor:
        return f"its GPUs are made by {gpus.vendor}, the pod needs {demand.gpu_vendor}"
    wanted = requirements.gpu_name or demand.gpu_name
    return "" if not wanted or wanted == gpus.name else f"its GPUs are {gpus.name}, the pod needs {wanted}"


def network(demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether its network is wide enough, where that was asked."""
    needed = max(demand.network_mbps, requirements.network_mbps)
    has = offer.shape.network_mbps
    return "" if has >= needed else f"it has {has} Mbit/s of {needed} Mbit/s"


def addresses(_demand: Demand, _requirements: Requirements, offer: Offer) -> str:
    """Whether it can have an address for the pod beside its own."""
    return "" if offer.shape.addresses >= 2 else "it has no second address for the pod"


def required_type(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether annotations or policy let the type pass."""
    return "" if type_required(requirements, offer.shape.type) else "its type is not asked for"


def launch_type(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether it may be bought this way."""
    return "" if offer.launch_type in requirements.launch_types else f"{offer.launch_type.value} is not asked for"


def zone(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether it is where it is wanted."""
    return "" if not requirements.zones or offer.zone in requirements.zones else f"zone {offer.zone} is not asked for"


def generation(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether the cloud still recommends the type."""
    if offer.shape.current_generation or requirements.any_generation or requirements.types:
        return ""
    return "it is of a previous generation"


def bare_metal(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Bare metal takes many minutes to boot: only for those who ask."""
    return "" if not offer.shape.bare_metal or requirements.bare_metal else "it is bare metal"


def burstable(_demand: Demand, requirements: Requirements, offer: Offer) -> str:
    """Whether a burstable type will do."""
    return "" if requirements.burstable or not offer.shape.burstable else "it is burstable"


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("architecture", architecture),
    ("cpu", cpu),
    ("memory", memory),
    ("gpu", gpu),
    ("network", network),
    ("addresses", addresses),
    ("type", required_type),
    ("launch-type", launch_type),
    ("zone", zone),
    ("generation", generation),
    ("bare-metal", bare_metal),
    ("burstable", burstable),
)


def rejection(demand: Demand, requirements: Requirements, offer: Offer) -> tuple[str, str]:
    """The first filter that an offer fails, and why; two empty strings where it passes all."""
    for name, passes in FILTERS:
        why = passes(demand, requirements, offer)
        if why:
            return name, why
    return "", ""
