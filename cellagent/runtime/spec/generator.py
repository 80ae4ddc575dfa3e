"""From CRI's words to the OCI runtime's: the config.json of a container. Pure.

Sources: the CRI definition, the OCI runtime specification 1.1, and what a kubelet's pods expect of paths and masks.
Beside this file: spec_process (what runs, as whom), spec_mounts, spec_resources, spec_security.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cellagent.images.image_source import ImageConfig
from cellagent.kernel import cgroups
from cellagent.runtime.spec import capabilities, cgroup, confinement, container_process, mount_points
from cellagent.runtime.spec.cgroup import limits
from cellagent.runtime.spec.users import User
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

__all__ = ["SpecInputs", "limits", "oci_spec"]

OCI_VERSION = "1.0.2"


class SpecInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs of a container's spec.

    `namespaces` are paths to join, by kind (net, ipc, uts, pid, user): the pod's, for TARGET the target's.
    `files` are mounted over /etc where the kubelet mounts none; `volumes` are those that the image declares, by path.
    `seccomp` is the content of a Localhost profile.
    `apparmor` are the profiles that are loaded, None where the machine has no AppArmor. `selinux` says whether that is
    on. `cgroup` is a path.
    `lowest_oom_score` is what this agent may lower a score to. `mountinfo` is the text of the process' own table, for
    telling whether a mount can be propagated; empty is "do not check".
    """

    container: cri.ContainerConfig
    sandbox: cri.PodSandboxConfig
    image: ImageConfig
    rootfs: Path
    namespaces: Mapping[str, str | Path]
    cgroup: str
    user: User
    hostname: str
    files: Mapping[str, str | Path]
    shm: Path
    volumes: dict[str, Path] = {}
    seccomp: dict[str, Any] | None = None
    host_devices: tuple[dict[str, Any], ...] = ()
    lowest_oom_score: int = -1000
    cgroup_v2: bool = True
    # What the machine has; asked of it where the caller does not say.
    host_capabilities: frozenset[str] = msgspec.field(default_factory=capabilities.own)
    controllers: frozenset[str] = msgspec.field(default_factory=cgroups.controllers)
    cpu_bound: float = msgspec.field(default_factory=cgroups.cpu_bound)
    apparmor: frozenset[str] | None = None
    selinux: bool = False
    machine: str = msgspec.field(default_factory=platform.machine)
    mountinfo: str = ""


def oci_spec(inputs: SpecInputs) -> dict[str, Any]:
    """The whole spec. Raises Fault for what cannot be honoured, by name."""
    config, context = inputs.container, inputs.container.linux.security_context
    name = f"container {config.metadata.name}"
    confinement.check_selinux(name, context, enabled=inputs.selinux)
    held = capabilities.capabilities(context, root=inputs.user.uid == 0, present=inputs.host_capabilities)
    described = container_process.process(
        config, inputs.image, inputs.user, hostname=inputs.hostname, lowest_oom_score=inputs.lowest_oom_score
    )
    described["capabilities"] = held
    apparmor = confinement.apparmor(name, context, inputs.apparmor)
    if apparmor:
        described["apparmorProfile"] = apparmor
    mounts = mount_points.Mounts(
        files=inputs.files,
        shm=inputs.shm,
        volumes=inputs.volumes,
        cgroup_v2=inputs.cgroup_v2,
        mountinfo=inputs.mountinfo,
    )
    return {
        "ociVersion": OCI_VERSION,
        "process": described,
        "root": {"path": str(inputs.rootfs), "readonly": context.readonly_rootfs},
        "mounts": mount_points.mounts(config, mounts),
        "linux": _linux(inputs, frozenset(held["bounding"])),
        "annotations": dict(config.annotations),
    }


def _linux(inputs: SpecInputs, held: frozenset[str]) -> dict[str, Any]:
    config, context = inputs.container, inputs.container.linux.security_context
    name = f"container {config.metadata.name}"
    linux: dict[str, Any] = {
        "cgroupsPath": inputs.cgroup,
        "resources": cgroup.resources(
            config, inputs.host_devices, inputs.controllers, v2=inputs.cgroup_v2, cpu_bound=inputs.cpu_bound
        ),
        "namespaces": _namespaces(inputs),
        "devices": [{key: each for key, each in one.items() if key != "access"} for one in inputs.host_devices],
        "rootfsPropagation": mount_points.root_propagation(config.mounts),
    }
    if "user" in inputs.namespaces:
        options = inputs.sandbox.linux.security_context.namespace_options.userns_options
        linux["uidMappings"] = mount_points.mappings(options.uids)
        linux["gidMappings"] = mount_points.mappings(options.gids)
    if not context.privileged:
        masked, readonly = _hidden(context, own_users="user" in inputs.namespaces)
        linux["maskedPaths"], linux["readonlyPaths"] = masked, readonly
        seccomp = confinement.seccomp(name, context, inputs.seccomp, held=held, machine=inputs.machine)
        if seccomp is not None:
            linux["seccomp"] = seccomp
    return linux


def _hidden(context: cri.LinuxContainerSecurityContext, *, own_users: bool) -> tuple[list[str], list[str]]:
    """The masked and the read-only paths.

    A kubelet always says which, and none at all for procMount Unmasked, which a pod may have whose users are its own;
    who else says nothing gets the usual ones.
    """
    if own_users and not context.masked_paths and not context.readonly_paths:
        return [], []
    masked, readonly = context.masked_paths, context.readonly_paths
    return list(masked or confinement.MASKED), list(readonly or confinement.READONLY)


def _namespaces(inputs: SpecInputs) -> list[dict[str, str]]:
    options = inputs.container.linux.security_context.namespace_options
    name = f"container {inputs.container.metadata.name}"
    found: list[dict[str, str]] = [{"type": "mount"}]
    if inputs.cgroup_v2:
        found.append({"type": "cgroup"})
    kinds = (
        ("user", "user", cri.POD),
        ("net", "network", options.network),
        ("ipc", "ipc", options.ipc),
        ("uts", "uts", cri.POD),
    )
    for kind, word, mode in kinds:
        if mode == cri.CONTAINER:
            found.append({"type": word})
        elif mode != cri.NODE and kind in inputs.namespaces:
            found.append({"type": word, "path": str(inputs.namespaces[kind])})
    if options.pid == cri.CONTAINER:
        found.append({"type": "pid"})
    elif options.pid != cri.NODE:
        if "pid" not in inputs.namespaces:
            cause = f"its process namespace is {cri.NamespaceMode.Name(options.pid)}, and there is none to join"
            raise Fault(Kind.INVALID, name, cause, "start the pod or the target container first")
        found.append({"type": "pid", "path": str(inputs.namespaces["pid"])})
    return found
