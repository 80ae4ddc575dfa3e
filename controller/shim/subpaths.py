"""Which part of a volume a kubelet's subPath mount shows. Pure.

A kubelet binds the part to a folder of its own (`volume-subpaths/<volume>/<container>/<number>`); the runtime is told
only of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from hostkit.mountinfo import Mount, at, holder


def part_of(bound: str, volume: str, mounts: Sequence[Mount]) -> str | None:
    """The path inside the folder `volume` that is bound to `bound`, "." for all of it; None where it is not in it."""
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
