"""From CRI's words to the OCI runtime's: the config.json of a container. Pure.

Sources: the CRI definition, the OCI runtime specification 1.1, and what a kubelet's pods expect of paths and masks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from cellagent.images.protocol import ImageConfig
from cellagent.runtime.capabilities import capabilities
from cellagent.runtime.users import User
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PROPAGATION = {
    cri.PROPAGATION_PRIVATE: "rprivate",
    cri.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    cri.PROPAGATION_BIDIRECTIONAL: "rshared",
}
DEVICES = (
    ("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 1), ("c", 5, 2),
    ("c", 136, None), ("c", 10, 200),
)  # fmt: skip


class SpecInputs(msgspec.Struct, frozen=True, kw_only=True):
    """All that a container's spec is made from. `namespaces` are paths to join; `files` are mounted over /etc."""

    container: cri.ContainerConfig
    sandbox: cri.PodSandboxConfig
    image: ImageConfig
    rootfs: Path
    namespaces: dict[str, Path]
    cgroup: str
    user: User
    hostname: str
    files: dict[str, Path]
    shm: Path
    seccomp: dict[str, Any] | None = None
    host_devices: tuple[dict[str, Any], ...] = ()
    lowest_oom_score: int = -1000
    cgroup_v2: bool = True


def arguments(config: cri.ContainerConfig, image: ImageConfig) -> list[str]:
    """What is run: command replaces the entrypoint and drops the image's cmd; args replace cmd. Raises Fault."""
    if config.command:
        found = [*config.command, *config.args]
    else:
        found = [*image.entrypoint, *(config.args or image.cmd)]
    if not found:
        name = config.metadata.name
        raise Fault(Kind.INVALID, f"container {name}", "neither it nor its image says what to run", "give a command")
    return found


def environment(inputs: SpecInputs) -> list[str]:
    """Image's variables, then the container's over them, then what every program expects."""
    found: dict[str, str] = {"PATH": DEFAULT_PATH.removeprefix("PATH=")}
    if not inputs.container.tty:
        pass
    else:
        found["TERM"] = "xterm"
    found["HOSTNAME"] = inputs.hostname
    for variable in inputs.image.env:
        key, _, text = variable.partition("=")
        found[key] = text
    for pair in inputs.container.envs:
        found[pair.key] = pair.value
    found.setdefault("HOME", inputs.user.home or "/")
    return [f"{key}={text}" for key, text in found.items()]


def oci_spec(inputs: SpecInputs) -> dict[str, Any]:
    """The whole spec. Raises Fault for what cannot be honoured, by name."""
    context = inputs.container.linux.security_context
    if context.HasField("selinux_options") and any(
        (context.selinux_options.type, context.selinux_options.level, context.selinux_options.role)
    ):
        raise Fault(
            Kind.UNSUPPORTED, f"container {inputs.container.metadata.name}", "this machine has no SELinux",
            "remove securityContext.seLinuxOptions",
        )  # fmt: skip
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(inputs),
        "root": {"path": str(inputs.rootfs), "readonly": context.readonly_rootfs},
        "hostname": inputs.hostname,
        "mounts": _mounts(inputs),
        "linux": _linux(inputs),
        "annotations": dict(inputs.container.annotations),
    }
    if "uts" in inputs.namespaces or _node(context.namespace_options.network):
        del spec["hostname"]
    return spec


def _process(inputs: SpecInputs) -> dict[str, Any]:
    config, context = inputs.container, inputs.container.linux.security_context
    groups = _groups(inputs)
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": inputs.user.uid, "gid": inputs.user.gid, "additionalGids": groups},
        "args": arguments(config, inputs.image),
        "env": environment(inputs),
        "cwd": config.working_dir or inputs.image.working_dir or "/",
        "capabilities": capabilities(context, root=inputs.user.uid == 0),
        "noNewPrivileges": context.no_new_privs,
        "oomScoreAdj": max(config.linux.resources.oom_score_adj, inputs.lowest_oom_score),
    }
    if context.apparmor.profile_type == cri.SecurityProfile.Localhost:
        process["apparmorProfile"] = context.apparmor.localhost_ref.removeprefix("localhost/")
    return process


def _groups(inputs: SpecInputs) -> list[int]:
    context = inputs.container.linux.security_context
    wanted = list(context.supplemental_groups)
    if context.supplemental_groups_policy == cri.Merge:
        wanted += inputs.user.groups
    return sorted({inputs.user.gid, *wanted})


def _node(mode: cri.NamespaceMode) -> bool:
    return mode == cri.NODE


def _linux(inputs: SpecInputs) -> dict[str, Any]:
    context = inputs.container.linux.security_context
    linux: dict[str, Any] = {
        "cgroupsPath": inputs.cgroup,
        "resources": resources(inputs),
        "namespaces": _namespaces(inputs),
        "devices": list(inputs.host_devices),
    }
    if not context.privileged:
        linux["maskedPaths"] = list(context.masked_paths or MASKED)
        linux["readonlyPaths"] = list(context.readonly_paths or READONLY)
        if inputs.seccomp is not None:
            linux["seccomp"] = inputs.seccomp
    return linux


def _namespaces(inputs: SpecInputs) -> list[dict[str, str]]:
    context = inputs.container.linux.security_context
    found: list[dict[str, str]] = [{"type": "mount"}]
    if inputs.cgroup_v2:
        found.append({"type": "cgroup"})
    for kind, name in (("net", "network"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
        if kind in inputs.namespaces:
            found.append({"type": name, "path": str(inputs.namespaces[kind])})
        elif kind == "pid" and context.namespace_options.pid == cri.CONTAINER:
            found.append({"type": "pid"})
    return found


def resources(inputs: SpecInputs) -> dict[str, Any]:
    """Limits, and which devices the container may open."""
    asked, context = inputs.container.linux.resources, inputs.container.linux.security_context
    found = limits(asked)
    if context.privileged:
        found["devices"] = [{"allow": True, "access": "rwm"}]
        return found
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor in DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    for device in inputs.host_devices:
        rule = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
        rules.append({**rule, "access": device.get("access", "rwm")})
    found["devices"] = rules
    return found


def limits(asked: cri.LinuxContainerResources) -> dict[str, Any]:
    """CPU, memory, huge pages and the like as the OCI runtime takes them; zero means "not said"."""
    cpu: dict[str, Any] = {}
    if asked.cpu_shares:
        cpu["shares"] = asked.cpu_shares
    if asked.cpu_quota:
        cpu["quota"] = asked.cpu_quota
        cpu["period"] = asked.cpu_period or 100_000
    if asked.cpuset_cpus:
        cpu["cpus"] = asked.cpuset_cpus
    if asked.cpuset_mems:
        cpu["mems"] = asked.cpuset_mems
    found: dict[str, Any] = {"cpu": cpu} if cpu else {}
    if asked.memory_limit_in_bytes:
        swap = asked.memory_swap_limit_in_bytes or asked.memory_limit_in_bytes
        found["memory"] = {"limit": asked.memory_limit_in_bytes, "swap": swap}
    if asked.hugepage_limits:
        found["hugepageLimits"] = [{"pageSize": one.page_size, "limit": one.limit} for one in asked.hugepage_limits]
    if asked.unified:
        found["unified"] = dict(asked.unified)
    return found


def _mounts(inputs: SpecInputs) -> list[dict[str, Any]]:
    context = inputs.container.linux.security_context
    wanted = {mount.container_path.rstrip("/") or "/" for mount in inputs.container.mounts}
    rw = "rw" if context.privileged else "ro"
    base = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", rw),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", rw),
        _mount("/dev/shm", "bind", str(inputs.shm), "rbind", "rw"),
    ]
    base += [
        _mount(target, "bind", str(path), "rbind", "ro" if context.readonly_rootfs else "rw")
        for target, path in inputs.files.items()
    ]
    kept = [mount for mount in base if mount["destination"] not in wanted]
    return [*kept, *_own(inputs.container.mounts)]


def _own(mounts: Iterable[cri.Mount]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    # A mount below another must come after it, whatever order they were asked in.
    for mount in sorted(mounts, key=lambda one: one.container_path.rstrip("/").count("/")):
        options = ["rbind", PROPAGATION[mount.propagation], "ro" if mount.readonly else "rw", *mount.mount_options]
        if mount.recursive_read_only:
            options.append("rro")
        found.append(_mount(mount.container_path, "bind", mount.host_path, *options))
    return found


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
