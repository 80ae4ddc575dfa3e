"""Mounts of a container, and their order. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit.mountinfo import parsed, propagation

PROPAGATION = {
    cri.PROPAGATION_PRIVATE: "rprivate",
    cri.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    cri.PROPAGATION_BIDIRECTIONAL: "rshared",
}


class Mounts(msgspec.Struct, frozen=True, kw_only=True):
    """Mounts that the sandbox and the machine bring; see SpecInputs."""

    files: Mapping[str, str | Path]
    shm: Path
    cgroup_v2: bool
    volumes: dict[str, Path] = {}
    mountinfo: str = ""


def mounts(config: cri.ContainerConfig, given: Mounts) -> list[dict[str, Any]]:
    """All mounts, whoever lies below another after it. Raises Fault for one that cannot be honoured."""
    context = config.linux.security_context
    own = [_own(config, mount, given.mountinfo) for mount in config.mounts]
    wanted = {mount["destination"] for mount in own}
    files = [
        _mount(target, "bind", str(path), "rbind", "rprivate", "ro" if context.readonly_rootfs else "rw")
        for target, path in given.files.items()
    ]
    volumes = [_mount(path, "bind", str(folder), "rbind", "rprivate", "rw") for path, folder in given.volumes.items()]
    base = [*_base(privileged=context.privileged, given=given), *files, *volumes]
    kept = [mount for mount in base if mount["destination"] not in wanted]
    # Stable: of two at one depth the machine's come first, then in the order asked.
    return sorted([*kept, *own], key=lambda mount: _depth(mount["destination"]))


def root_propagation(asked: Iterable[cri.Mount]) -> str:
    """How the container's root must receive mounts so that those of its volumes can pass."""
    wanted = {mount.propagation for mount in asked}
    if cri.PROPAGATION_BIDIRECTIONAL in wanted:
        return "rshared"
    return "rslave" if cri.PROPAGATION_HOST_TO_CONTAINER in wanted else "rprivate"


def mappings(ids: Iterable[cri.IDMapping]) -> list[dict[str, int]]:
    """A map of ids as the OCI runtime wants it."""
    return [{"containerID": one.container_id, "hostID": one.host_id, "size": one.length} for one in ids]


def _base(*, privileged: bool, given: Mounts) -> list[dict[str, Any]]:
    access = "rw" if privileged else "ro"
    return [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", access),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/dev/shm", "bind", str(given.shm), "rbind", "rprivate", "rw"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", access),
    ]


def _own(config: cri.ContainerConfig, mount: cri.Mount, mountinfo: str) -> dict[str, Any]:
    thing = f"container {config.metadata.name}, mount {mount.container_path}"
    if not mount.container_path:
        raise Fault(Kind.INVALID, thing, "it does not say where in the container")
    if mount.recursive_read_only and not (mount.readonly and mount.propagation == cri.PROPAGATION_PRIVATE):
        raise Fault(Kind.INVALID, thing, "recursive read-only needs a read-only mount without propagation")
    _check_propagation(thing, mount, mountinfo)
    options = ["rbind", PROPAGATION[mount.propagation], "ro" if mount.readonly else "rw"]
    if mount.recursive_read_only:
        options.append("rro")
    destination = posixpath.normpath(posixpath.join("/", mount.container_path))
    found = _mount(destination, "bind", mount.host_path, *options, *mount.mount_options)
    if mount.uidMappings or mount.gidMappings:
        found["uidMappings"] = mappings(mount.uidMappings)
        found["gidMappings"] = mappings(mount.gidMappings)
    return found


def _check_propagation(thing: str, mount: cri.Mount, mountinfo: str) -> None:
    if not mountinfo or mount.propagation == cri.PROPAGATION_PRIVATE:
        return
    present = propagation(Path(mount.host_path), parsed(mountinfo))
    enough = {"shared"} if mount.propagation == cri.PROPAGATION_BIDIRECTIONAL else {"shared", "slave"}
    if present not in enough:
        mend = "make it shared on the machine (mount --make-rshared)"
        raise Fault(Kind.PRECONDITION, thing, f"{mount.host_path} is on a {present} mount, which passes none on", mend)


def _depth(destination: str) -> int:
    return 0 if destination == "/" else destination.count("/")


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
