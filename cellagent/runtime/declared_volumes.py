"""Volumes that an image declares (VOLUME): for each a folder of the container's own, with what the image has there.

As containerd has them: writable though the root is read-only, made where the image has no such folder, gone with the
container. A plain folder on disk and no overlay, since who declares a volume may want to stack file systems in it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from cellagent.kernel import inside
from cellwire.faults import Fault, Kind
from hostkit import programs

FOLDER = "volumes"
# Each is a folder, a mount and, where the image has content there, a copy.
MOST = 1000
COPY_SECONDS = 600.0
# The machine's own mounts: nothing can be made in the first two, and all of them are writable or not as CRI says.
KERNELS = ("/proc", "/sys")
OWN = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def destinations(declared: Iterable[str], mounted: Iterable[str]) -> tuple[str, ...]:
    """The absolute paths of an image's volumes, but for those where the pod or the machine mounts something. Pure."""
    taken = {_absolute(path) for path in mounted}
    found = {path: None for path in map(_absolute, declared) if path not in taken and not _of_the_machine(path)}
    return tuple(found)


def lay_out(layers: Path, rootfs: Path, wanted: Collection[str], *, owner: int) -> dict[str, Path]:
    """An empty folder for each of the paths `wanted`, by path; with `fill` to come where the image has content there.

    Where the image has no such folder it belongs to `owner`, root as the container sees it. Raises Fault INVALID.
    """
    made: dict[str, Path] = {}
    if len(wanted) > MOST:
        cause = f"it declares {len(wanted)} volumes, more than {MOST}"
        raise Fault(Kind.INVALID, "image of the container", cause, "build it anew with fewer")
    for number, path in enumerate(wanted):
        found = _source(rootfs, path)
        folder = layers / FOLDER / str(number)
        folder.mkdir(parents=True, mode=0o755)
        if found is None:
            os.chown(folder, owner, owner)
        elif not os.listdir(found):
            seen = found.stat()
            os.chown(folder, seen.st_uid, seen.st_gid)
            folder.chmod(stat.S_IMODE(seen.st_mode))
        made[path] = folder
    return made


async def fill(rootfs: Path, volumes: Mapping[str, Path]) -> None:
    """Copy what the image has at each of these paths into its folder. Raises Fault."""
    for path, folder in volumes.items():
        found = _source(rootfs, path)
        if found is not None and os.listdir(found):
            argv = ["cp", "--archive", "--no-target-directory", "--", str(found), str(folder)]
            done = await programs.run(argv, deadline=COPY_SECONDS)
            if done.returncode:
                raise Fault(Kind.BROKEN, f"volume {path} of the image", f"it cannot be copied: {done.words[-1000:]}")


def among(layers: Path, mounts: Iterable[Mapping[str, str]]) -> dict[str, Path]:
    """The image's volumes among the mounts of a container's spec, by path. Pure."""
    own = layers / FOLDER
    return {one["destination"]: Path(one["source"]) for one in mounts if Path(one["source"]).parent == own}


def _source(rootfs: Path, path: str) -> Path | None:
    thing = f"volume {path} of the image"
    try:
        found = inside.place(rootfs, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fault(Kind.INVALID, thing, f"its place in the image cannot be opened: {error.strerror}") from error
    if found.samefile(rootfs):
        raise Fault(Kind.INVALID, thing, "it is the root of the image, which cannot be a volume")
    if not found.is_dir():
        raise Fault(Kind.INVALID, thing, "the image has something there that is no folder")
    return found


def _absolute(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path)).replace("//", "/")


def _of_the_machine(path: str) -> bool:
    return path in OWN or any(path == top or path.startswith(f"{top}/") for top in KERNELS)
