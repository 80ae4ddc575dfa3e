"""The machine that a kubelet is shown: files of /proc and /sys that tell the node's capacity, not this machine's. Pure.

A kubelet counts the CPUs below /sys/devices/system and reads MemTotal, and neither flag nor configuration tells it
otherwise. In a mount namespace of its own it finds these files there instead, and nobody else does. Everything else
(volumes that it mounts, above all) stays shared with the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from controller.worker.settings import WorkerOptions

MEMINFO, CPUINFO, CPUS, NODES = "meminfo", "cpuinfo", "cpu", "node"
_OVERLAID = {
    MEMINFO: "/proc/meminfo",
    CPUINFO: "/proc/cpuinfo",
    CPUS: "/sys/devices/system/cpu",
    NODES: "/sys/devices/system/node",
}
_COUNTED = ("MemTotal", "MemFree", "MemAvailable")
_FIRST = "processor"


def meminfo(own: str, worker: WorkerOptions) -> str:
    """/proc/meminfo with the node's memory; `own` is this machine's."""
    size = worker.memory_gib << 20
    lines = own.splitlines() or [f"{name}: 0 kB" for name in _COUNTED]
    return "\n".join(_line(line, size) for line in lines) + "\n"


def _line(line: str, size: int) -> str:
    name = line.partition(":")[0]
    return f"{name + ':':<16}{size:>8} kB" if name in _COUNTED else line


def cpuinfo(own: str, worker: WorkerOptions) -> str:
    """/proc/cpuinfo with the node's CPUs, each as the first of this machine."""
    first = own.split("\n\n", maxsplit=1)[0].rstrip("\n")
    if not first.startswith(_FIRST):
        first = f"{_FIRST}\t: 0\ncpu MHz\t\t: 2000.000"
    return "".join(_numbered(first, number) + "\n\n" for number in range(worker.cpu))


def _numbered(block: str, number: int) -> str:
    return re.sub(
        r"^(processor|core id|apicid|initial apicid)(\s*): \d+", rf"\1\2: {number}", block, flags=re.MULTILINE
    )


def tree(worker: WorkerOptions, own_meminfo: str, own_cpuinfo: str) -> Iterator[tuple[str, str | None]]:
    """All files by their path below the folder of the capacity, with their text; None is a folder."""
    listed = f"0-{worker.cpu - 1}\n" if worker.cpu > 1 else "0\n"
    yield MEMINFO, meminfo(own_meminfo, worker)
    yield CPUINFO, cpuinfo(own_cpuinfo, worker)
    for name in ("online", "possible", "present"):
        yield f"{CPUS}/{name}", listed
    for number in range(worker.cpu):
        yield from _cpu(f"{CPUS}/cpu{number}", number)
    # The kubelet writes the numbers of all CPUs into cpuset.cpus of its pods' group, and ends where this machine has
    # not so many. It adds up the CPUs of the nodes, whose numbers may be the same ones in each.
    own = max(1, len(re.findall(rf"^{_FIRST}\s*:", own_cpuinfo, flags=re.MULTILINE)))
    nodes = -(-worker.cpu // own)
    for name in ("online", "possible", "has_cpu", "has_memory"):
        yield f"{NODES}/{name}", f"0-{nodes - 1}\n" if nodes > 1 else "0\n"
    for node in range(nodes):
        place, cpus = f"{NODES}/node{node}", min(own, worker.cpu - node * own)
        yield f"{place}/meminfo", f"Node {node} MemTotal: {(worker.memory_gib << 20) // nodes:>15} kB\n"
        yield f"{place}/distance", "10\n"
        yield f"{place}/cpulist", f"0-{cpus - 1}\n" if cpus > 1 else "0\n"
        yield f"{place}/hugepages", None
        for number in range(cpus):
            yield from _cpu(f"{place}/cpu{number}", node * own + number)


def _cpu(place: str, core: int) -> Iterator[tuple[str, str | None]]:
    yield f"{place}/topology/core_id", f"{core}\n"
    yield f"{place}/topology/physical_package_id", "0\n"
    yield f"{place}/topology/book_id", "-1\n"
    yield f"{place}/topology/drawer_id", "-1\n"
    yield f"{place}/online", "1\n"
    yield f"{place}/cache", None


def script(folder: str, kubelet: str, flags: tuple[str, ...]) -> str:
    """What starts the kubelet within a mount namespace of its own, whose other mounts are the machine's."""
    binds = "\n".join(
        f"[ ! -e {target} ] || mount --bind {quote(f'{folder}/{name}')} {target}" for name, target in _OVERLAID.items()
    )
    told = " \\\n    ".join(quote(flag) for flag in flags)
    return f"""#!/bin/sh
# Written by `chinampa worker init`. Run it as: unshare --mount --propagation unchanged {folder}-kubelet
# These files are the kubelet's alone; its volumes are everybody's, for the controller sends them to cells.
set -eu
mount --make-rprivate /proc
mount --make-rprivate /sys
{binds}
exec {quote(kubelet)} \\
    {told} "$@"
"""
