"""A container's folder as the OCI runtime wants it: the stacked root, the files over /etc, config.json."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cellagent.images.image_source import Image
from cellagent.kernel import apparmor, cgroups, inside, mounts, selinux, slow_paths
from cellagent.network import etc_files
from cellagent.network.pod_network import NetworkMode
from cellagent.runtime import cdi, declared_volumes, settings, userns
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellagent.runtime.machine import Machine
from cellagent.runtime.spec import users
from cellagent.runtime.spec.generator import SpecInputs, oci_spec
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import files, mountinfo

ETC = {"/etc/resolv.conf": "resolv.conf", "/etc/hosts": "hosts", "/etc/hostname": "hostname"}
SHM_BYTES = 64 << 20
NOT_DEVICES = frozenset({"pts", "shm", "fd", "mqueue", "hugepages", ".lxc", ".lxd-mounts", ".udev", "console", "tty"})


def lay_out(
    machine: Machine, sandbox: SandboxEntry, record: ContainerEntry, image: Image, places: Mapping[str, Path]
) -> users.User:
    """Mount the root in the folders that its layers have, and write config.json. Returns the user and groups that the
    container runs as.

    `places` says where the mounts' host paths lead; all of them are there.
    """
    layers, own = machine.settings.layers(record.id), machine.settings.bundle(record.id)
    own.mkdir(mode=0o711)
    upper, work, rootfs = f"{layers}/upper", f"{layers}/work", Path(f"{layers}/rootfs")
    owner = userns.mapping(sandbox.parsed())
    mapped = Path(sandbox.namespaces["user"]) if owner is not None else None
    if owner is not None:
        os.chown(upper, owner.outside, owner.outside)
    mounts.overlay(image.layers, upper, work, rootfs, userns=mapped)
    config = record.parsed()
    for number, mount in enumerate(config.mounts):
        _resolve(machine, record, mount, number, mapped, places)
    context = config.linux.security_context
    if context.namespace_options.pid == cri.POD and "pid" not in sandbox.namespaces:
        # Nobody asked for a shared process namespace: POD is only the enumeration's zero.
        context.namespace_options.pid = cri.CONTAINER
    user = _user(rootfs, context, image.config.user)
    wanted = declared_volumes.destinations(image.config.volumes, (mount.container_path for mount in config.mounts))
    volumes = declared_volumes.lay_out(layers, rootfs, wanted, owner=owner.outside if owner is not None else 0)
    folder = machine.settings.sandbox_folder(sandbox.id)
    inputs = SpecInputs(
        container=config,
        sandbox=sandbox.parsed(),
        image=image.config,
        rootfs=rootfs,
        namespaces=_namespaces(machine, sandbox, context.namespace_options),
        cgroup=record.cgroup,
        user=user,
        # Not what /etc/hostname says, which the pod's containers may write to.
        hostname=socket.gethostname() if sandbox.network is NetworkMode.HOST else etc_files.hostname(sandbox.parsed()),
        files={target: f"{folder}/{name}" for target, name in ETC.items()},
        volumes=volumes,
        shm=_shared_memory(machine, sandbox, record, context.namespace_options),
        seccomp=_seccomp(config),
        host_devices=_devices(config),
        lowest_oom_score=machine.lowest_oom_score,
        apparmor=apparmor.loaded(),
        selinux=selinux.enabled(),
        cgroup_v2=cgroups.layout() is cgroups.Layout.V2,
        mountinfo=mountinfo.TABLE.read_text(errors="surrogateescape") if config.mounts else "",
    )
    edits = cdi.find([device.name for device in config.CDI_devices], machine.settings.cdi)
    spec = cdi.applied(oci_spec(inputs), edits, privileged=context.privileged)
    write_spec(own, spec)
    return msgspec.structs.replace(user, groups=tuple(spec["process"]["user"].get("additionalGids", ())))


def _namespaces(machine: Machine, sandbox: SandboxEntry, options: cri.NamespaceOption) -> dict[str, str]:
    paths = dict(sandbox.namespaces)
    for kind, mode in (("pid", options.pid), ("net", options.network), ("ipc", options.ipc)):
        if mode == cri.TARGET:
            paths[kind] = f"/proc/{_target(machine, sandbox, options).pid}/ns/{kind}"
    return paths


def _target(machine: Machine, sandbox: SandboxEntry, options: cri.NamespaceOption) -> ContainerEntry:
    target = machine.ledger.container(options.target_id)
    if target.phase is not Phase.RUNNING or target.sandbox_id != sandbox.id:
        cause = "it is no running container of this sandbox, so its namespaces cannot be shared"
        raise Fault(Kind.PRECONDITION, f"target container {target.id[:13]}", cause)
    return target


def _shared_memory(
    machine: Machine, sandbox: SandboxEntry, record: ContainerEntry, options: cri.NamespaceOption
) -> Path:
    """What is at /dev/shm: it goes with the ipc namespace."""
    match options.ipc:
        case cri.CONTAINER:
            own = machine.settings.layers(record.id) / "shm"
            own.mkdir(exist_ok=True)
            mounts.tmpfs(own, SHM_BYTES)
            return own
        case cri.TARGET:
            spec = read_spec(machine.settings.bundle(_target(machine, sandbox, options).id))
            return next(Path(one["source"]) for one in spec["mounts"] if one["destination"] == "/dev/shm")
        case cri.POD if "ipc" in sandbox.namespaces:
            return machine.settings.sandbox_folder(sandbox.id) / "shm"
        case _:
            return Path("/dev/shm")


def write_spec(bundle: Path, spec: dict[str, Any]) -> None:
    """Write config.json."""
    files.write(f"{bundle}/config.json", msgspec.json.encode(spec))


def read_spec(bundle: Path) -> dict[str, Any]:
    """Read it again."""
    return msgspec.json.decode((bundle / "config.json").read_bytes(), type=dict[str, Any])


def _user(rootfs: Path, context: cri.LinuxContainerSecurityContext, of_image: str) -> users.User:
    gid = context.run_as_group.value if context.HasField("run_as_group") else None
    if gid is not None and not context.HasField("run_as_user") and not context.run_as_username:
        raise Fault(Kind.INVALID, f"group {gid}", "runAsGroup is set without a user", "set runAsUser as well")
    if context.HasField("run_as_user"):
        return users.resolve(rootfs, str(context.run_as_user.value), gid=gid)
    if context.run_as_username:
        return users.resolve(rootfs, context.run_as_username, gid=gid)
    return users.resolve(rootfs, of_image, gid=gid)


def _resolve(
    machine: Machine,
    record: ContainerEntry,
    mount: cri.Mount,
    number: int,
    mapped: Path | None,
    places: Mapping[str, Path],
) -> None:
    """Make the mount's source a path that is there: an image's folder, or where the host path leads.

    CRI has no word for the part of a volume that is no image: it is in the field that it has for images.

    `mapped` is the pod's user namespace: what is to appear with its ids is bound so here, since not every OCI runtime
    can.
    """
    if mount.HasField("image"):
        mount.host_path = str(_image_volume(machine, record, mount, number, mapped))
        return
    source = places[mount.host_path]
    if mount.image_sub_path:
        mount.host_path = str(_part(machine, record, mount, number, mapped, source))
        return
    mount.host_path = str(source)
    if mapped is not None and mount.uidMappings:
        target = machine.settings.layers(record.id) / f"mapped-{number}"
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind_idmapped(source, target, mapped)
        mount.host_path = str(target)
        mount.ClearField("uidMappings")
        mount.ClearField("gidMappings")


def shown(container: str, mount: cri.Mount) -> str:
    """A mount as faults name it. Pure."""
    return f"container {container}, mount {mount.container_path}"


def _part(
    machine: Machine, record: ContainerEntry, mount: cri.Mount, number: int, mapped: Path | None, volume: Path
) -> Path:
    """Bind a part of a volume to a place of the container's own. Whoever can write to the volume may change what is at
    the part's path at any moment: what was opened is what is bound, and its path is not looked at again.
    """
    shared = mount.propagation == cri.PROPAGATION_BIDIRECTIONAL
    target = machine.settings.layers(record.id) / f"{settings.SHARED_PART if shared else 'part-'}{number}"
    try:
        part = inside.part(volume, mount.image_sub_path)
    except OSError as error:
        fault = slow_paths.not_had(mount.image_sub_path, error)
        thing = shown(record.parsed().metadata.name, mount)
        raise Fault(fault.kind, thing, fault.cause, reason=fault.reason) from error
    try:
        if stat.S_ISDIR(os.fstat(part).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        userns = mapped if mount.uidMappings else None
        mounts.bind_open(part, target, shared=shared, userns=userns)
    finally:
        os.close(part)
    if userns is not None:
        mount.ClearField("uidMappings")
        mount.ClearField("gidMappings")
    return target


def _image_volume(machine: Machine, record: ContainerEntry, mount: cri.Mount, number: int, mapped: Path | None) -> Path:
    if not mount.readonly:
        cause = "an image cannot be written to"
        raise Fault(Kind.INVALID, f"mount {mount.container_path}", cause, "make the mount read-only")
    image = machine.images.find(mount.image.image)
    machine.images.hold(image.id, f"{record.id}-{number}")
    target = machine.settings.layers(record.id) / f"image-{number}"
    target.mkdir(exist_ok=True)
    mounts.overlay(image.layers, None, None, target, userns=mapped)
    try:
        return inside.place(target, mount.image_sub_path or ".")
    except OSError as error:
        cause = f"{mount.image_sub_path} of image {mount.image.image} cannot be opened: {error.strerror}"
        raise Fault(Kind.INVALID, f"mount {mount.container_path}", cause) from error


def _seccomp(config: cri.ContainerConfig) -> dict[str, Any] | None:
    profile = config.linux.security_context.seccomp
    if profile.profile_type != cri.SecurityProfile.Localhost or config.linux.security_context.privileged:
        return None
    path = Path(profile.localhost_ref.removeprefix("localhost/"))
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise Fault(Kind.INVALID, f"seccomp profile {path}", str(error)) from error


def _devices(config: cri.ContainerConfig) -> tuple[dict[str, Any], ...]:
    found = [_device(Path(one.host_path), one.container_path, one.permissions) for one in config.devices]
    if config.linux.security_context.privileged:
        named = {device["path"] for device in found if device}
        found.extend(
            _device(entry, str(entry), "rwm", tolerate=True)
            for entry in host_devices(Path("/dev"))
            if str(entry) not in named
        )
    return tuple(device for device in found if device)


def host_devices(folder: Path) -> Iterator[Path]:
    """What a folder of devices holds, at any depth, but for the file systems of their own that are mounted in it."""
    for entry in sorted(folder.iterdir()):
        if entry.name in NOT_DEVICES or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from host_devices(entry)
        else:
            yield entry


def _device(path: Path, inside: str, access: str, *, tolerate: bool = False) -> dict[str, Any]:
    try:
        seen = path.stat()
    except OSError as error:
        if tolerate:  # unplugged a moment ago
            return {}
        raise Fault(Kind.INVALID, f"device {path}", str(error.strerror)) from error
    kind = "c" if stat.S_ISCHR(seen.st_mode) else "b" if stat.S_ISBLK(seen.st_mode) else ""
    if not kind:
        if tolerate:
            return {}
        raise Fault(Kind.INVALID, f"device {path}", "it is no device")
    return {
        "path": inside,
        "type": kind,
        "major": os.major(seen.st_rdev),
        "minor": os.minor(seen.st_rdev),
        "fileMode": stat.S_IMODE(seen.st_mode),
        "uid": seen.st_uid,
        "gid": seen.st_gid,
        "access": access or "rwm",
    }
