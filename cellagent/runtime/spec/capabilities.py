"""Which capabilities a container has. Pure, but for what this process itself holds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

# In the kernel's order: a name's place is its bit.
ALL = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
# What every container has unless it says otherwise, as Docker and containerd give.
DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip


@cache
def own() -> frozenset[str]:
    """What this process holds, and so the most that it can give."""
    return of_status(Path("/proc/self/status").read_text())


def of_status(status: str) -> frozenset[str]:
    """The names of a process' bounding set, from the text of its status file."""
    bits = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:")), 0)
    return frozenset(name for place, name in enumerate(ALL) if bits >> place & 1)


def capabilities(
    context: cri.LinuxContainerSecurityContext, *, root: bool, present: frozenset[str] = frozenset(ALL)
) -> dict[str, list[str]]:
    """The five sets. A user that is not root has none in effect but the ambient ones, yet may gain the bounding set.

    `present` is what the machine can give: "all" means all of these, and a single one beyond them is a Fault.
    """
    asked = context.capabilities
    ambient = _names(asked.add_ambient_capabilities)
    if context.privileged:
        added, dropped = {"ALL"}, set[str]()
    else:
        added, dropped = set(_names(asked.add_capabilities)), set(_names(asked.drop_capabilities))
    for name in sorted((added | set(ambient)) - {"ALL"} - present):
        cause = "there is no such capability" if name not in ALL else "this machine cannot give it"
        raise Fault(Kind.INVALID, f"capability {name}", cause)
    wanted = set(ALL if "ALL" in added else DEFAULT)
    if "ALL" in dropped:
        wanted = set()
    # A single name counts more than ALL, and dropping more than adding.
    wanted = (wanted | (added - {"ALL"})) - dropped | set(ambient)
    full = [f"CAP_{name}" for name in ALL if name in wanted and name in present]
    only = [f"CAP_{name}" for name in ALL if name in ambient]
    held = full if root else only
    return {"bounding": full, "effective": held, "permitted": held, "inheritable": only, "ambient": only}


def _names(names: Iterable[str]) -> list[str]:
    return [name.upper().removeprefix("CAP_") for name in names]
