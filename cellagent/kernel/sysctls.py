"""Kernel settings that belong to a namespace: which may be changed for a pod. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from cellwire.faults import Fault, Kind

_NAMES_OF_IPC = {
    "kernel/sem", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/msg_next_id", "kernel/sem_next_id",
    "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_next_id", "kernel/shm_rmid_forced",
}  # fmt: skip


def path(name: str) -> Path:
    """The file of a setting, in either spelling: "net.ipv4.conf.eth0/1.x" or "net/ipv4/conf/eth0.1/x". Raises Fault."""
    found = Path(_slashes(name))
    if ".." in found.parts or found.is_absolute() or not name or "\0" in name:
        raise Fault(Kind.INVALID, f"sysctl {name}", "this is no name of one")
    return Path("/proc/sys") / found


def refuse_foreign(names: Iterable[str], kinds: Collection[str]) -> None:
    """A setting that is not of the pod's own namespaces would change the whole machine. Raises Fault naming it."""
    for name in names:
        path(name)
        kind = _kind(_slashes(name))
        if not kind:
            cause = "it belongs to no namespace of a pod, so it would change the machine"
            raise Fault(Kind.INVALID, f"sysctl {name}", cause, "set it in the machine image")
        if kind not in kinds:
            raise Fault(Kind.INVALID, f"sysctl {name}", f"the pod has no {kind} namespace of its own")


def _kind(name: str) -> str:
    if name.startswith("net/"):
        return "net"
    return "ipc" if name in _NAMES_OF_IPC or name.startswith("fs/mqueue/") else ""


def _slashes(name: str) -> str:
    # The first separator tells the spelling; the other character then stands within an interface's name.
    dot, slash = name.find("."), name.find("/")
    dotted = slash < 0 or 0 <= dot < slash
    return name.translate({ord("."): "/", ord("/"): "."}) if dotted else name
