"""What becomes of each mount that a kubelet asks for, when the container runs on another machine. Pure.

Files that the kubelet prepared under its pods folder are copied to the cell; an emptyDir lives on the cell; a path of
the host is the cell's own path. What cannot be honoured is refused by name, never given as an empty folder.
"""

from __future__ import annotations

import enum
from pathlib import PurePosixPath

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind


class Fate(enum.Enum):
    """What becomes of a mount."""

    COPIED = "copied"
    RETURNED = "returned"
    CELL_FOLDER = "cell folder"
    AS_IS = "as is"


class PlannedMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount with its fate: `source` is the path on this machine, `on_cell` where it is on the cell."""

    fate: Fate
    source: str
    on_cell: str


# Volume plugins whose content the kubelet writes itself, as files.
COPIED_PLUGINS = frozenset(
    {"kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"}
)
CELL_PLUGINS = frozenset({"kubernetes.io~empty-dir"})
CELL_ROOT = "/var/lib/chinampa/pods"


def plan(mount: cri.Mount, *, pods_folder: str, uid: str, container: str) -> PlannedMount:
    """Decide the fate of one mount. Raises Fault UNSUPPORTED naming a volume that cannot be honoured."""
    source = PurePosixPath(mount.host_path)
    if mount.HasField("image") and not mount.host_path:
        return PlannedMount(fate=Fate.AS_IS, source="", on_cell="")
    try:
        relative = source.relative_to(pods_folder)
    except ValueError:
        return PlannedMount(fate=Fate.AS_IS, source=mount.host_path, on_cell=mount.host_path)
    on_cell = f"{CELL_ROOT}/{uid}/" + "/".join(relative.parts[1:])
    match relative.parts[1:]:
        case ("etc-hosts",):
            return PlannedMount(fate=Fate.COPIED, source=mount.host_path, on_cell=on_cell)
        case ("containers", _, _):
            return PlannedMount(fate=Fate.RETURNED, source=mount.host_path, on_cell=on_cell)
        case ("volumes", plugin, *_):
            return _volume(mount, plugin, on_cell, container)
        case ("volume-subpaths", *_):
            raise _refused(mount, container, "a subPath cannot follow a pod to its cell yet")
        case _:
            raise _refused(mount, container, "the shim does not know what the kubelet keeps there")


def _volume(mount: cri.Mount, plugin: str, on_cell: str, container: str) -> PlannedMount:
    if plugin in CELL_PLUGINS:
        return PlannedMount(fate=Fate.CELL_FOLDER, source=mount.host_path, on_cell=on_cell)
    if plugin in COPIED_PLUGINS:
        return PlannedMount(fate=Fate.COPIED, source=mount.host_path, on_cell=on_cell)
    raise _refused(mount, container, f"volumes of {plugin.replace('~', '/')} cannot follow a pod to its cell yet")


def _refused(mount: cri.Mount, container: str, cause: str) -> Fault:
    return Fault(
        Kind.UNSUPPORTED,
        f"container {container}: mount of {mount.host_path} at {mount.container_path}",
        cause,
        "use a configMap, secret, projected, downwardAPI, emptyDir or hostPath volume",
        reason="UnsupportedVolume",
    )
