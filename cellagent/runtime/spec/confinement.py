"""Confinement of a container: masks, system calls, AppArmor, SELinux. Pure but for the data file.

The usual list of system calls is that of Docker and containerd, in seccomp.json by subject; who holds a capability may
make the calls that it is for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from cellagent.kernel.apparmor import DEFAULT
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# "amd64" and the like are what some systems call their machines.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class SyscallRule(msgspec.Struct, frozen=True, kw_only=True):
    """Calls and what becomes of them; for all, for one machine, for who holds a capability, or for who does not."""

    subject: str
    names: tuple[str, ...]
    action: str
    args: tuple[dict[str, Any], ...] = ()
    errno: int | None = msgspec.field(default=None, name="errnoRet")
    machine: str = ""
    capability: str = ""
    without: str = ""


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """The data file."""

    default_action: str = msgspec.field(name="defaultAction")
    default_errno: int = msgspec.field(name="defaultErrnoRet")
    architectures: dict[str, tuple[str, ...]]
    rules: tuple[SyscallRule, ...]


def seccomp(
    name: str,
    context: cri.LinuxContainerSecurityContext,
    local: dict[str, Any] | None,
    *,
    held: frozenset[str],
    machine: str,
) -> dict[str, Any] | None:
    """The filter of system calls; None for "all are allowed". `local` is what a Localhost profile's file holds."""
    # Who says nothing at all is not confined.
    kind = context.seccomp.profile_type if context.HasField("seccomp") else cri.SecurityProfile.Unconfined
    match kind:
        case cri.SecurityProfile.Localhost:
            if local is None:
                thing = f"{name}, seccomp profile {context.seccomp.localhost_ref}"
                raise Fault(Kind.INVALID, thing, "it was not read", "name a file of the cell")
            return local
        case cri.SecurityProfile.RuntimeDefault:
            return usual_calls(held, machine)
        case _:
            return None


def usual_calls(held: frozenset[str], machine: str) -> dict[str, Any]:
    """The usual filter for who holds these capabilities ("CAP_…"), in the OCI runtime's form."""
    usual = _usual()
    machine = _MACHINES.get(machine, machine)
    calls: list[dict[str, Any]] = []
    for rule in usual.rules:
        if rule.machine not in {"", machine} or (rule.capability and rule.capability not in held):
            continue
        if rule.without and rule.without in held:
            continue
        call: dict[str, Any] = {"names": list(rule.names), "action": rule.action}
        if rule.args:
            call["args"] = list(rule.args)
        if rule.errno is not None:
            call["errnoRet"] = rule.errno
        calls.append(call)
    return {
        "defaultAction": usual.default_action,
        "defaultErrnoRet": usual.default_errno,
        "architectures": list(usual.architectures.get(machine, ())),
        "syscalls": calls,
    }


def apparmor(name: str, context: cri.LinuxContainerSecurityContext, loaded: frozenset[str] | None) -> str:
    """The profile's name, or "" for none. `loaded` are those of the machine, None where it has no AppArmor.

    Who says nothing gets the runtime's default, which is this agent's own profile where that could be loaded. Raises
    Fault naming one that is not there.
    """
    if context.privileged or context.apparmor.profile_type == cri.SecurityProfile.Unconfined:
        return ""
    if context.apparmor.profile_type == cri.SecurityProfile.RuntimeDefault:
        return DEFAULT if loaded and DEFAULT in loaded else ""
    wanted = context.apparmor.localhost_ref.removeprefix("localhost/")
    if loaded is None:
        raise Fault(Kind.UNSUPPORTED, f"{name}, AppArmor profile {wanted}", "this machine has no AppArmor")
    if wanted not in loaded:
        cause = "it is not loaded on this machine"
        raise Fault(Kind.INVALID, f"{name}, AppArmor profile {wanted}", cause, "load it in the machine image")
    return wanted


def check_selinux(
    name: str, context: cri.LinuxContainerSecurityContext | cri.LinuxSandboxSecurityContext, *, enabled: bool
) -> None:
    """SELinux options of a container or a pod say nothing where SELinux is off, as in other runtimes.

    Where it is on they cannot be honoured: raises Fault naming them.
    """
    if not enabled:
        return
    options = context.selinux_options
    said = {"user": options.user, "role": options.role, "type": options.type, "level": options.level}
    if words := " ".join(f"{key}={text}" for key, text in said.items() if text):
        mend = "remove securityContext.seLinuxOptions"
        cause = "this machine runs SELinux, and this runtime sets no labels"
        raise Fault(Kind.UNSUPPORTED, f"{name}, SELinux options {words}", cause, mend)


@cache
def _usual() -> Usual:
    return msgspec.json.decode(Path(__file__).with_name("seccomp.json").read_bytes(), type=Usual)
