"""Mounts that a kubelet asks for, and what becomes of each when the container runs on another machine. Pure.

Files that the kubelet prepared under its pods folder are copied to the cell, and those of volumes kept in sync; an
emptyDir lives on the cell; a path of the host is the cell's own path. What cannot be honoured is refused by name,
never given as an empty folder.
"""

from __future__ import annotations

import enum
from pathlib import PurePosixPath

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import mountinfo


class Handling(enum.Enum):
    """Handling of a mount."""

    SYNCED = "copied and kept in sync"
    COPIED = "copied"
    RETURNED = "returned"
    CELL_FOLDER = "cell folder"
    SERVED = "mounted from the same server"
    AS_IS = "as is"


class PlannedMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount with its fate: `source` is the path on this machine, `on_cell` where it is on the cell.

    `part` is the part of a cell's folder that a subPath names, "." for all of it. `memory` is how many bytes a cell's
    folder in memory may hold (0: as many as the kernel gives), None for one on disk. `served` is what the cell mounts.
    """

    fate: Handling
    source: str
    on_cell: str
    part: str = "."
    memory: int | None = None
    served: Served | None = None


class SubPath(msgspec.Struct, frozen=True, kw_only=True):
    """What a subPath mount shows: `plugin` as the kubelet names its folder, and the `part` of it; of a hostPath, which
    has no such folder, `plugin` is "" and `part` the path of the machine. None is "it cannot be seen".
    """

    plugin: str
    part: str | None


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of an NFS server that the kubelet has mounted: which, and with which options."""

    server: str
    path: str
    options: tuple[str, ...] = ()
    read_only: bool = False


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """The file system that the kubelet has mounted for an emptyDir, and how many bytes it may hold (0: not said)."""

    kind: str
    size: int = 0


# Volume plugins whose content the kubelet writes itself, as files.
COPIED_PLUGINS = frozenset(
    {"kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"}
)
EMPTY_DIR = "kubernetes.io~empty-dir"
CELL_ROOT = "/var/lib/chinampa/pods"


def plan(
    mount: cri.Mount,
    *,
    pods_folder: str,
    uid: str,
    container: str,
    subpath: SubPath | None = None,
    medium: Medium | None = None,
    served: Served | None = None,
) -> PlannedMount:
    """Decide the fate of one mount. Raises Fault UNSUPPORTED naming a volume that cannot be honoured.

    `subpath`, `medium` and `served` tell what the kubelet has prepared there.
    """
    if mount.HasField("image") and not mount.host_path:
        return PlannedMount(fate=Handling.AS_IS, source="", on_cell="")
    parts = below(pods_folder, uid, mount.host_path)
    if parts is None:
        return PlannedMount(fate=Handling.AS_IS, source=mount.host_path, on_cell=mount.host_path)
    on_cell = f"{CELL_ROOT}/{uid}/" + "/".join(parts)
    if served is not None and (shown := _served(parts, on_cell, f"{CELL_ROOT}/{uid}", subpath)) is not None:
        path, part = shown
        return PlannedMount(fate=Handling.SERVED, source=mount.host_path, on_cell=path, part=part, served=served)
    match parts:
        case ("etc-hosts",):
            return PlannedMount(fate=Handling.COPIED, source=mount.host_path, on_cell=on_cell)
        case ("containers", _, _):
            return PlannedMount(fate=Handling.RETURNED, source=mount.host_path, on_cell=on_cell)
        case ("volumes", plugin, *_) if plugin == EMPTY_DIR:
            memory = _memory(mount, container, medium)
            return PlannedMount(fate=Handling.CELL_FOLDER, source=mount.host_path, on_cell=on_cell, memory=memory)
        case ("volumes", plugin, *_) if plugin in COPIED_PLUGINS:
            return PlannedMount(fate=Handling.SYNCED, source=mount.host_path, on_cell=on_cell)
        case ("volumes", plugin, *_):
            raise _refused(mount, container, _cannot_follow(plugin))
        case ("volume-subpaths", volume, _, _):
            return _part(mount, container, volume, f"{CELL_ROOT}/{uid}", subpath, medium)
        case _:
            raise _refused(mount, container, "the shim does not know what the kubelet keeps there")


def _served(parts: tuple[str, ...], on_cell: str, pod: str, subpath: SubPath | None) -> tuple[str, str] | None:
    """Where the cell mounts what a server has, and which part of it is shown; None where that cannot be seen."""
    match parts:
        case ("volumes", *_):
            return on_cell, "."
        case ("volume-subpaths", volume, _, _) if subpath is not None and subpath.part is not None:
            return f"{pod}/volumes/{subpath.plugin}/{volume}", subpath.part
        case _:
            return None


# Of a mount on the worker: what says how NFS is spoken, and nothing that is the worker's own.
_KEPT_OPTIONS = frozenset(
    ("vers", "rsize", "wsize", "timeo", "retrans", "acregmin", "acregmax", "acdirmin", "acdirmax")
)
_KEPT_FLAGS = frozenset(("hard", "soft", "softerr", "noresvport", "nolock", "noac", "nocto", "sync"))


def served_by(found: mountinfo.Mount | None) -> Served | None:
    """What a mount of the worker shows of an NFS server; None for any other, and for one of this very worker."""
    if found is None or found.kind not in {"nfs", "nfs4"}:
        return None
    server, _, path = found.source.rpartition(":/")
    server = server.removeprefix("[").removesuffix("]")
    if not server or server.startswith("127.") or server in {"localhost", "::1"}:
        return None
    options = [one for one in found.options if one in _KEPT_FLAGS or one.partition("=")[0] in _KEPT_OPTIONS]
    return Served(server=server, path=f"/{path}", options=tuple(options), read_only="ro" in found.options)


def below(pods_folder: str, uid: str, path: str) -> tuple[str, ...] | None:
    """The parts of a path inside the folder of the pod with this uid; None for a path elsewhere.

    A kubelet mounts into a pod only what is of that pod, by plain paths. Whatever else is named here was named by a
    user, as a hostPath.
    """
    try:
        parts = PurePosixPath(path).relative_to(PurePosixPath(pods_folder, uid)).parts
    except ValueError:
        return None
    return None if ".." in parts else parts


def refuse_devices(config: cri.ContainerConfig, pods_folder: str, uid: str) -> None:
    """A raw block volume is a device of the worker. Raises Fault UNSUPPORTED naming it."""
    for device in config.devices:
        if below(pods_folder, uid, device.host_path) is not None:
            asked = cri.Mount(host_path=device.host_path, container_path=device.container_path)
            raise _refused(asked, config.metadata.name, "a block device of the worker cannot follow a pod to its cell")


def _part(
    mount: cri.Mount, container: str, volume: str, pod_on_cell: str, shown: SubPath | None, medium: Medium | None
) -> PlannedMount:
    plugin = shown.plugin if shown is not None else ""
    if plugin in COPIED_PLUGINS:
        # As on any node a subPath shows what the volume held when the container started.
        on_cell = f"{pod_on_cell}/" + "/".join(PurePosixPath(mount.host_path).parts[-4:])
        return PlannedMount(fate=Handling.COPIED, source=mount.host_path, on_cell=on_cell)
    if plugin not in {"", EMPTY_DIR}:
        raise _refused(mount, container, _cannot_follow(plugin))
    if shown is None or shown.part is None:
        raise _refused(mount, container, f"the shim cannot see which part of volume {volume} the kubelet has bound")
    if not plugin:
        return PlannedMount(fate=Handling.AS_IS, source=mount.host_path, on_cell=shown.part)
    return PlannedMount(
        fate=Handling.CELL_FOLDER,
        source=str(PurePosixPath(mount.host_path).parents[3] / "volumes" / EMPTY_DIR / volume),
        on_cell=f"{pod_on_cell}/volumes/{EMPTY_DIR}/{volume}",
        part=shown.part,
        memory=_memory(mount, container, medium),
    )


def _memory(mount: cri.Mount, container: str, medium: Medium | None) -> int | None:
    if medium is None:
        return None
    if medium.kind != "tmpfs":
        raise _refused(mount, container, f"an emptyDir on {medium.kind} cannot be had on a cell")
    return medium.size


def _cannot_follow(plugin: str) -> str:
    return f"volumes of {plugin.replace('~', '/')} cannot follow a pod to its cell yet"


def _refused(mount: cri.Mount, container: str, cause: str) -> Fault:
    return Fault(
        Kind.UNSUPPORTED,
        f"container {container}: mount of {mount.host_path} at {mount.container_path}",
        cause,
        "use a configMap, secret, projected, downwardAPI, emptyDir, hostPath or nfs volume",
        reason="UnsupportedVolume",
    )
