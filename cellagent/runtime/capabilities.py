"""Which capabilities a container has. Pure."""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri

# What every container has unless it says otherwise, as Docker and containerd give.
DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
ALL = (
    *DEFAULT, "DAC_READ_SEARCH", "LINUX_IMMUTABLE", "NET_BROADCAST", "NET_ADMIN", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE",
    "SYS_RAWIO", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "LEASE", "AUDIT_CONTROL", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
    "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip


def capabilities(context: cri.LinuxContainerSecurityContext, *, root: bool) -> dict[str, list[str]]:
    """The five sets. A user that is not root has none in effect but the ambient ones, yet may gain the bounding set."""
    if context.privileged:
        own = list(ALL)
    else:
        own = _changed(list(context.capabilities.add_capabilities), list(context.capabilities.drop_capabilities))
    ambient = [name for name in _names(context.capabilities.add_ambient_capabilities) if name in ALL]
    own += [name for name in ambient if name not in own]
    full = [f"CAP_{name}" for name in own]
    held = full if root else [f"CAP_{name}" for name in ambient]
    return {
        "bounding": full,
        "effective": held,
        "permitted": held,
        "inheritable": [f"CAP_{name}" for name in ambient],
        "ambient": [f"CAP_{name}" for name in ambient],
    }


def _changed(add: list[str], drop: list[str]) -> list[str]:
    added, dropped = _names(add), _names(drop)
    own = list(ALL) if "ALL" in added else ([] if "ALL" in dropped else list(DEFAULT))
    own = [name for name in own if name not in dropped]
    return own + [name for name in added if name in ALL and name not in own]


def _names(capabilities: object) -> list[str]:
    return [str(name).upper().removeprefix("CAP_") for name in capabilities]  # type: ignore[attr-defined]
