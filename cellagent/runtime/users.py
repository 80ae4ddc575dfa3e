"""Which user and groups a container runs as: names are those of the image's own files.

The files are opened step by step without following links, so that an image cannot point out of itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind

LARGEST = 1 << 20


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for the kernel, and the home folder for the environment."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(rootfs: Path, user: str, *, gid: int | None = None) -> User:
    """The user written as "name", "uid", "name:group" or "uid:gid". Raises Fault INVALID for a name of nobody."""
    name, _, group = user.partition(":")
    people = [line.split(":") for line in _lines(rootfs, "passwd")]
    found = next((one for one in people if len(one) > 5 and name in (one[0], one[2])), None) if name else None
    if name and not name.isdigit() and found is None:
        raise Fault(Kind.INVALID, f"user {name}", "the image's /etc/passwd does not know it", "use a number")
    uid = int(found[2]) if found else int(name or 0)
    if found is None and not name:
        found = next((one for one in people if len(one) > 5 and one[2] == "0"), None)
    own_gid = int(found[3]) if found else 0
    if group:
        own_gid = _group(rootfs, group)
    if gid is not None:
        own_gid = gid
    login = found[0] if found else ""
    return User(uid=uid, gid=own_gid, groups=memberships(rootfs, login), home=found[5] if found else "/")


def memberships(rootfs: Path, login: str) -> tuple[int, ...]:
    """Groups of the image whose members include `login`."""
    rows = [line.split(":") for line in _lines(rootfs, "group")]
    return tuple(int(row[2]) for row in rows if len(row) > 3 and login and login in row[3].split(","))


def _group(rootfs: Path, group: str) -> int:
    if group.isdigit():
        return int(group)
    for line in _lines(rootfs, "group"):
        row = line.split(":")
        if row[0] == group and len(row) > 2:
            return int(row[2])
    raise Fault(Kind.INVALID, f"group {group}", "the image's /etc/group does not know it", "use a number")


def _lines(rootfs: Path, name: str) -> list[str]:
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY))
        descriptors.append(os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptors[-1]))
        descriptors.append(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptors[-1]))
        return os.read(descriptors[-1], LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
