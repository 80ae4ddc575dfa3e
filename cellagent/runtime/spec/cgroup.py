"""Limits of a container, and which devices it may open. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cellwire.cri.unlimited import NO_LIMIT
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

# null, zero, full, random, urandom, tty, console, ptmx, pseudo terminals, tun: as every container expects them.
DEVICES = (
    ("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 1), ("c", 5, 2),
    ("c", 136, None), ("c", 10, 200),
)  # fmt: skip

PERIOD_US = 100_000
NO_QUOTA = -1


def resources(
    config: cri.ContainerConfig,
    devices: Iterable[dict[str, Any]],
    controllers: frozenset[str],
    *,
    v2: bool,
    cpu_bound: float,
) -> dict[str, Any]:
    """Limits, and which devices the container may open. Raises Fault for a limit that the machine cannot hold."""
    name = f"container {config.metadata.name}"
    found = enforceable(name, config.linux.resources, controllers, v2=v2, cpu_bound=cpu_bound)
    if config.linux.security_context.privileged:
        found["devices"] = [{"allow": True, "access": "rwm"}]
    else:
        found["devices"] = _device_rules(devices)
    return found


def enforceable(
    name: str,
    asked: cri.LinuxContainerResources,
    controllers: frozenset[str],
    *,
    v2: bool,
    cpu_bound: float,
) -> dict[str, Any]:
    """As `limits`, without what this machine holds anyhow. Raises Fault for a limit that it cannot hold."""
    for page in asked.hugepage_limits:
        if 0 < page.limit < NO_LIMIT and "hugetlb" not in controllers:
            cause = "this machine does not limit huge pages"
            raise Fault(Kind.UNSUPPORTED, f"{name}, hugepages-{page.page_size}", cause)
    if asked.unified and not v2:
        cause = "this machine has control groups of version 1"
        raise Fault(Kind.UNSUPPORTED, f"{name}, {' '.join(sorted(asked.unified))}", cause, "use a newer machine image")
    found = limits(asked)
    if asked.cpu_quota > cpu_bound * (asked.cpu_period or PERIOD_US):
        # The kernel refuses it, and the machine's own size holds the container.
        found["cpu"]["quota"] = NO_QUOTA
    if "hugetlb" not in controllers:
        # A kubelet asks for none of every page size, which holds by itself then.
        found.pop("hugepageLimits", None)
    return found


def limits(asked: cri.LinuxContainerResources) -> dict[str, Any]:
    """CPU, memory, huge pages and the like as the OCI runtime takes them; zero means "not said"."""
    cpu: dict[str, Any] = {}
    if asked.cpu_shares:
        cpu["shares"] = max(asked.cpu_shares, 2)
    if asked.cpu_quota:
        cpu["quota"] = asked.cpu_quota
        cpu["period"] = asked.cpu_period or PERIOD_US
    if asked.cpuset_cpus:
        cpu["cpus"] = asked.cpuset_cpus
    if asked.cpuset_mems:
        cpu["mems"] = asked.cpuset_mems
    found: dict[str, Any] = {"cpu": cpu} if cpu else {}
    if asked.memory_limit_in_bytes:
        # Who says nothing of swap gets none: a limit that swap can evade is no limit.
        swap = asked.memory_swap_limit_in_bytes or asked.memory_limit_in_bytes
        found["memory"] = {"limit": asked.memory_limit_in_bytes, "swap": swap}
    if asked.hugepage_limits:
        found["hugepageLimits"] = [{"pageSize": one.page_size, "limit": one.limit} for one in asked.hugepage_limits]
    if asked.unified:
        found["unified"] = dict(asked.unified)
    return found


def _device_rules(devices: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        # Making a node opens nothing, and MKNOD is among the usual capabilities.
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    for kind, major, minor in DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    for device in devices:
        rule = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
        rules.append({**rule, "access": device.get("access") or "rwm"})
    return rules
