"""Copies files from the worker to a cell: what the kubelet prepared for a pod.

Owner, mode and symbolic links are kept. What is sent is one state of the folder: where the kubelet swaps a volume
while it is read, it is read again. Nothing is visible on the cell before the whole is there.

For a subPath mount a kubelet binds a part of a volume to a folder of its own
(`volume-subpaths/<volume>/<container>/<number>`), and tells the runtime only of that; mountinfo says which part it is.
"""

from __future__ import annotations

import asyncio
import glob
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.sandboxes.cell_client import OneCell
from controller.shim import mount_translation
from hostkit import mountinfo
from hostkit.mountinfo import Mount, at, holder

CHUNK = 1 << 18
# A configMap or secret holds 1 MiB at most; a projected volume may gather many of them.
LARGEST_VOLUME = 32 << 20
MOST_ENTRIES = 10_000
# A kubelet swaps a volume at most once in a second or so; who loses so often against it has another problem.
READS = 5
CURRENT = "..data"


class VolumeMark(NamedTuple):
    """State of a volume, which changes whenever a kubelet changes that."""

    generation: str
    """The folder that `..data` names; "" where the kubelet has not written the volume."""
    keys: tuple[str, ...]
    """What a container finds at its top: kernels before 6.13 stamp several changes of one tick alike."""
    found: tuple[int, int, int]
    """Its inode, and when that was changed in content and in all else, in ns."""


def mark(source: Path) -> VolumeMark:
    """What changes whenever a kubelet changes the volume. Raises OSError where it is gone."""
    found = source.lstat()
    try:
        generation = str((source / CURRENT).readlink())
    except OSError:
        generation = ""
    names = [path.name for path in source.iterdir()] if source.is_dir() else []
    keys = tuple(sorted(name for name in names if not name.startswith("..")))
    return VolumeMark(generation, keys, (found.st_ino, found.st_mtime_ns, found.st_ctime_ns))


def where(source: Path, on_cell: str) -> str:
    """The path on the cell of a folder or single file: a file travels in a folder of its own."""
    path = PurePosixPath(on_cell)
    return str(path) if source.is_dir() else str(path.parent / "files" / path.name / path.name)


def subpath(pods_folder: str, uid: str, path: str) -> mount_translation.SubPath | None:
    """What a subPath mount of the kubelet shows; None for any other path."""
    match mount_translation.below(pods_folder, uid, path):
        case ("volume-subpaths", volume, _, _):
            pod = Path(path).parents[3]
        case _:
            return None
    found = next((one for one in (pod / "volumes").glob(f"*/{glob.escape(volume)}")), None)
    present = mountinfo.own()
    if found is None:
        return mount_translation.SubPath(plugin="", part=path_of(path, present, pods_folder))
    return mount_translation.SubPath(plugin=found.parent.name, part=part_of(path, str(found), present))


def part_of(bound: str, volume: str, mounts: Sequence[Mount]) -> str | None:
    """The path inside the folder `volume` that is bound to `bound`, "." for all of it; None where it is not there."""
    shown, below = at(bound, mounts), holder(volume, mounts)
    if shown is None or below is None or shown.device != below.device:
        return None
    top = PurePosixPath(below.root) / PurePosixPath(volume).relative_to(below.point)
    root = _root(shown)
    return str(root.relative_to(top)) if root.is_relative_to(top) else None


def path_of(bound: str, mounts: Sequence[Mount], pods_folder: str) -> str | None:
    """The path of this machine that is bound to `bound`, for a volume that is no folder of the kubelet's: a hostPath.

    A file system may be mounted at several places; the one that shows the most of it is meant.
    """
    shown = at(bound, mounts)
    if shown is None:
        return None
    root = _root(shown)
    places = [
        one
        for one in mounts
        if one.device == shown.device
        and root.is_relative_to(one.root)
        and not PurePosixPath(one.point).is_relative_to(pods_folder)
    ]
    if not places:
        return None
    place = min(places, key=lambda one: len(one.root))
    return str(PurePosixPath(place.point) / root.relative_to(place.root))


def _root(shown: Mount) -> PurePosixPath:
    # The kernel marks what was removed since: "/a/b//deleted".
    return PurePosixPath(shown.root.removesuffix("//deleted"))


def medium(pods_folder: str, uid: str, path: str) -> mount_translation.Medium | None:
    """What the kubelet has mounted for an emptyDir, asked by a mount of it or of a part of it; None for nothing."""
    match mount_translation.below(pods_folder, uid, path):
        case ("volumes", mount_translation.EMPTY_DIR, _):
            folder = Path(path)
        case ("volume-subpaths", volume, _, _):
            folder = Path(path).parents[3] / "volumes" / mount_translation.EMPTY_DIR / volume
        case _:
            return None
    found = mountinfo.at(str(folder), mountinfo.own())
    return mount_translation.Medium(kind=found.kind, size=mountinfo.size(found)) if found is not None else None


def served(pods_folder: str, uid: str, path: str) -> mount_translation.Served | None:
    """The folder of an NFS server that the kubelet has mounted for a volume, asked by a mount of it or of a part of it.

    None for any other, and for one that a helper on this worker serves: a cell has none.
    """
    present = mountinfo.own()
    match mount_translation.below(pods_folder, uid, path):
        case ("volumes", _, _, *_):
            return mount_translation.served_by(mountinfo.at(path, present))
        case ("volume-subpaths", volume, _, _):
            found = (Path(path).parents[3] / "volumes").glob(f"*/{glob.escape(volume)}")
            return next(
                (one for each in found if (one := mount_translation.served_by(mountinfo.at(str(each), present)))), None
            )
        case _:
            return None


async def mount_served(there: OneCell, planned: mount_translation.PlannedMount) -> str:
    """Have the cell mount the same folder of the same server; its path there. Raises Fault."""
    if (served := planned.served) is None:
        raise Fault(Kind.BROKEN, f"mount of {planned.source}", "no server is known for it")
    await there.mount_folder(
        wire.MountFolderRequest(
            target=planned.on_cell,
            server=served.server,
            path=served.path,
            options=served.options,
            read_only=served.read_only,
        )
    )
    return planned.on_cell


async def send(there: OneCell, source: Path, on_cell: str, *, written: bool = False) -> str:
    """Copy a folder or file to the cell, as `snapshot` finds it; returns its path there. Raises Fault."""
    messages = await asyncio.to_thread(snapshot, source, written=written)
    path = where(source, on_cell)
    folder = path if source.is_dir() else str(PurePosixPath(path).parent)
    await there.put_files(wire.PutFilesStart(folder=folder), messages)
    return path


async def send_seccomp(
    there: OneCell, uid: str, context: cri.LinuxContainerSecurityContext | cri.LinuxSandboxSecurityContext
) -> None:
    """Copy a seccomp profile of this worker to the cell, and name it by its path there. Raises Fault."""
    profile = context.seccomp
    if profile.profile_type != cri.SecurityProfile.Localhost:
        return
    source = Path(profile.localhost_ref)
    if not source.is_file():
        mend = "put it below the kubelet's seccomp folder on this worker"
        raise Fault(Kind.INVALID, f"seccomp profile {source}", "there is no such file", mend)
    profile.localhost_ref = await send(there, source, f"{mount_translation.CELL_ROOT}/{uid}/seccomp/{source.name}")


async def make_folder(there: OneCell, on_cell: str, like: Path | None = None, *, memory: int | None = None) -> None:
    """An empty folder with the owner and mode of `like`; one that exists keeps its content. Raises Fault.

    Without `like`, or where that is gone, any user of the pod may write to it, as to an emptyDir. With `memory` it is
    a file system in memory that holds so many bytes.
    """
    own = wire.FileEntry(path=".", mode=stat.S_IFDIR | 0o777)
    if like is not None and like.is_dir():
        own = _entry(".", like)
    if memory is not None:
        own.memory.CopyFrom(wire.Memory(size_bytes=memory))
    await there.put_files(wire.PutFilesStart(folder=on_cell, keep_existing=True), [wire.PutFilesInput(entry=own)])


def snapshot(source: Path, *, written: bool = False) -> list[wire.PutFilesInput]:
    """One state of a folder, or of a file, as messages. Blocks. Raises Fault.

    With `written`, a folder that is not yet a kubelet's volume is UNAVAILABLE: after a restart of the worker, whose
    cells live on, it would take away what their containers have.
    """
    for _ in range(READS):
        try:
            before = mark(source)
            if written and source.is_dir() and not before.generation:
                cause = "the kubelet has not written it"
                raise Fault(Kind.UNAVAILABLE, f"volume {source}", cause, "it is sent once that has")
            messages = _folder(source) if source.is_dir() else _file(source.name, source, 0)
            if mark(source) == before:
                return messages
        except FileNotFoundError as error:
            if not source.exists():
                raise Fault(Kind.NOT_FOUND, f"volume {source}", "it is gone from this worker") from error
        except OSError as error:
            raise Fault(Kind.BROKEN, f"volume {source}", f"it could not be read: {error}") from error
    raise Fault(
        Kind.UNAVAILABLE, f"volume {source}", f"it changed {READS} times while it was read", "it is tried again"
    )


def _folder(folder: Path) -> list[wire.PutFilesInput]:
    messages = [wire.PutFilesInput(entry=_entry(".", folder))]
    size = entries = 0
    for root, folders, files in os.walk(folder, onerror=_fail):
        if Path(root) == folder:
            folders[:], files[:] = _current(folder, folders), _current(folder, files)
        for name in sorted(folders) + sorted(files):
            path = Path(root) / name
            entries += 1
            if entries > MOST_ENTRIES:
                raise _too_large(folder, f"more than {MOST_ENTRIES} files")
            new = _file(str(path.relative_to(folder)), path, size)
            size += sum(len(message.data) for message in new)
            messages += new
    return messages


def _fail(error: OSError) -> NoReturn:
    # Passed over, a folder that cannot be read would be sent as an empty one.
    raise error


def _current(volume: Path, names: Sequence[str]) -> list[str]:
    """Names at the top of a volume without the generations that a kubelet is writing, or taking away.

    Half of one would arrive on the cell, in place of the whole one that is still read there.
    """
    try:
        generation = (volume / CURRENT).readlink().name
    except OSError:
        return list(names)
    return [name for name in names if name in {CURRENT, generation} or not name.startswith("..")]


def _file(name: str, path: Path, before: int) -> list[wire.PutFilesInput]:
    entry = _entry(name, path)
    messages = [wire.PutFilesInput(entry=entry)]
    if stat.S_ISREG(entry.mode):
        if before + path.stat().st_size > LARGEST_VOLUME:
            raise _too_large(path, f"more than {LARGEST_VOLUME >> 20} MiB")
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                messages.append(wire.PutFilesInput(data=data))
    return messages


def _entry(name: str, path: Path) -> wire.FileEntry:
    found = path.lstat()
    entry = wire.FileEntry(path=name, mode=found.st_mode, uid=found.st_uid, gid=found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        entry.target = str(path.readlink())
    return entry


def _too_large(path: Path, what: str) -> Fault:
    mend = "put it into the image, or have the pod fetch it"
    return Fault(Kind.INVALID, f"volume {path}", f"it holds {what}, and is not copied to a cell", mend)
