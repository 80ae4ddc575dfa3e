"""Which user and groups a container runs as: names are those of the image's own files.

Links in the image are followed as its own processes would, so it cannot point out of itself. A file that is not there
names nobody; one that cannot be read is an error, since a container must not silently run with fewer groups.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cellagent.kernel import inside
from cellwire.faults import Fault, Kind

# An image could hold a file without end. Directories of a large site have some ten thousand lines.
LARGEST = 4 << 20
# The kernel keeps the last number for "no change".
MOST = (1 << 32) - 2
LONGEST = 20
_FIELDS = 7


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
    found = _found(rootfs, name)
    if found is None and not _is_number(name):
        raise Fault(Kind.INVALID, f"user {name}", "the image's /etc/passwd does not know it", "use a number")
    chosen = _group(rootfs, group) if group else found.gid if found else 0
    return User(
        uid=_checked(found.uid if found else _number(name), "user"),
        gid=_checked(chosen if gid is None else gid, "group"),
        groups=memberships(rootfs, found.login if found else ""),
        home=found.home if found else "/",
    )


def memberships(rootfs: Path, login: str) -> tuple[int, ...]:
    """Groups of the image whose members include `login`."""
    if not login:
        return ()
    mine = (row[2] for row in _rows(rootfs, "group") if login in row[3].strip().split(","))
    return tuple(_number(number) for number in mine if _is_number(number) and _number(number) <= MOST)


def _found(rootfs: Path, name: str) -> _Person | None:
    """Who is called so; else the first who has this number."""
    uid = _number(name) if _is_number(name) else -1
    numbered: list[str] | None = None
    for row in _people(rootfs):
        if row[0] == name:
            return _person(row)
        if numbered is None and _number(row[2]) == uid:
            numbered = row
    return _person(numbered) if numbered is not None else None


def _people(rootfs: Path) -> Iterator[list[str]]:
    for row in _rows(rootfs, "passwd"):
        if row[0] and _is_number(row[2]) and (_is_number(row[3]) or not row[3]):
            yield row


def _person(row: list[str]) -> _Person:
    return _Person(row[0], _number(row[2]), _number(row[3] or "0"), row[5])


def _group(rootfs: Path, group: str) -> int:
    for row in _rows(rootfs, "group"):
        if row[0] == group and _is_number(row[2]):
            return _number(row[2])
    if _is_number(group):
        return _number(group)
    raise Fault(Kind.INVALID, f"group {group}", "the image's /etc/group does not know it", "use a number")


def _is_number(text: str) -> bool:
    """Whether it is of the digits that other runtimes read: those of other scripts are names."""
    return text.isascii() and text.isdecimal()


def _number(text: str) -> int:
    """The value of decimal digits; of more than any number of the kernel's has, one that is too large."""
    return int(text) if len(text) < LONGEST else MOST + 1


def _checked(number: int, what: str) -> int:
    if not 0 <= number <= MOST:
        raise Fault(Kind.INVALID, f"{what} {number}", f"numbers go from 0 to {MOST}")
    return number


def _rows(rootfs: Path, name: str) -> Iterator[list[str]]:
    """The fields of each line, one at a time, as an image may hold millions of lines. Lines may lack their last fields,
    as getpwent(3) and other runtimes take them.
    """
    path = f"/etc/{name}"
    try:
        content = inside.content(rootfs, path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        mend = "build the image anew with a file there that can be read"
        raise Fault(Kind.INVALID, f"{path} of the image", f"it cannot be read: {error.strerror}", mend) from error
    for line in io.BytesIO(content):
        if b":" in line:
            yield [*line.rstrip(b"\r\n").decode(errors="replace").split(":", _FIELDS), "", "", "", ""]
