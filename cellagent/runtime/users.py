"""Which user and groups a container runs as: names are those of the image's own files.

The files are opened step by step without following links, so that an image cannot point out of itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind

# An image could hold a file without end.
LARGEST = 1 << 20
# The kernel keeps the last number for "no change".
MOST = (1 << 32) - 2


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for the kernel, and the home folder for the environment."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Person(msgspec.Struct, frozen=True):
    login: str
    uid: int
    gid: int
    home: str


def resolve(rootfs: Path, user: str, *, gid: int | None = None) -> User:
    """The user written as "name", "uid", "name:group" or "uid:gid". Raises Fault INVALID for a name of nobody."""
    name, _, group = user.partition(":")
    name = name or "0"
    people = _people(rootfs)
    found = next((one for one in people if one.login == name), None)
    if found is None and name.isdecimal():
        found = next((one for one in people if one.uid == int(name)), None)
    elif found is None:
        raise Fault(Kind.INVALID, f"user {name}", "the image's /etc/passwd does not know it", "use a number")
    chosen = _group(rootfs, group) if group else found.gid if found else 0
    return User(
        uid=_checked(found.uid if found else int(name), "user"),
        gid=_checked(chosen if gid is None else gid, "group"),
        groups=memberships(rootfs, found.login if found else ""),
        home=found.home if found else "/",
    )


def memberships(rootfs: Path, login: str) -> tuple[int, ...]:
    """Groups of the image whose members include `login`."""
    rows = [line.split(":") for line in _lines(rootfs, "group")]
    found = [row[2] for row in rows if len(row) > 3 and login and login in row[3].strip().split(",")]
    return tuple(int(number) for number in found if number.isdecimal() and int(number) <= MOST)


def _people(rootfs: Path) -> list[_Person]:
    rows = [line.split(":") for line in _lines(rootfs, "passwd")]
    return [
        _Person(row[0], int(row[2]), int(row[3]), row[5])
        for row in rows
        if len(row) > 5 and row[0] and row[2].isdecimal() and row[3].isdecimal()
    ]


def _group(rootfs: Path, group: str) -> int:
    for line in _lines(rootfs, "group"):
        row = line.split(":")
        if len(row) > 2 and row[0] == group and row[2].isdecimal():
            return int(row[2])
    if group.isdecimal():
        return int(group)
    raise Fault(Kind.INVALID, f"group {group}", "the image's /etc/group does not know it", "use a number")


def _checked(number: int, what: str) -> int:
    if not 0 <= number <= MOST:
        raise Fault(Kind.INVALID, f"{what} {number}", f"numbers go from 0 to {MOST}")
    return number


def _lines(rootfs: Path, name: str) -> list[str]:
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptors.append(os.open("etc", flags | os.O_DIRECTORY, dir_fd=descriptors[-1]))
        descriptors.append(os.open(name, flags, dir_fd=descriptors[-1]))
        return os.read(descriptors[-1], LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
