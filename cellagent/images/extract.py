"""Writes the entries of one layer into the folder that is this process's root.

Run only after `chroot` into the layer's own folder: absolute names, "..", symlinks and hardlinks then end at that
folder's wall by the kernel's own rule, whatever a layer says. On top of that nothing that exists is ever opened for
writing, so devices and links planted by an earlier entry gain nothing. Whiteouts become what overlayfs wants:
character device 0:0 for a removed name, trusted.overlay.opaque for an emptied folder.
"""

# Names in a tar stream are bytes, which pathlib does not take.
# ruff: noqa: PTH101, PTH102, PTH108, PTH116, PTH211

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable

from cellagent.images import tarstream
from cellagent.images.tarstream import TarEntry, TarReader
from cellwire.faults import Fault, Kind
from hostkit import files

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
# Where aufs keeps the files that have several names, each linked to from its places: they stay, the folder does not.
AUFS_LINKS = b".wh..wh.plnk"
OPAQUE_XATTR = "trusted.overlay.opaque"
_BLOCK = 4096
# What a file system needs for an entry beside its bytes, at the most: a block, an inode and the place of its name.
ENTRY_BYTES = _BLOCK + 1024
# And for the place of a piece of a file that has holes.
PIECE_BYTES = 24
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Extractor:
    """The state of one layer while it is written. `implicit` are folders that no entry described. `spend` is told of
    what the disk needs before it is written, in bytes, and raises Fault where there is no room; `taken` is the sum.
    """

    def __init__(self, spend: Callable[[int], None] = lambda _: None) -> None:
        self._told = spend
        self.entries = 0
        self.taken = 0
        self.unpacked = 0
        self.implicit: set[bytes] = set()
        self._folders: set[bytes] = {b"."}
        self._inside: dict[bytes, set[bytes]] = {}
        self._attributes: dict[bytes, TarEntry] = {}
        self._removed: set[bytes] = set()
        self._opaque: set[bytes] = set()

    def run(self, reader: TarReader) -> None:
        """Write every entry. Raises Fault; the folder is then good for nothing."""
        os.umask(0)
        for entry in reader:
            name = safe_name(entry.name)
            self._spend(_needs(entry))
            try:
                self._write(entry, name, reader)
            except (OSError, OverflowError, ValueError) as error:
                raise fault_of(error, name) from error
            self.entries += 1
        if AUFS_LINKS in self._folders:
            self._replace(AUFS_LINKS)
        for name in sorted(self._attributes, key=lambda n: n.count(b"/"), reverse=True):
            entry = self._attributes[name]
            try:
                _set_folder(name, entry)
            except (OSError, OverflowError, ValueError) as error:
                raise fault_of(error, name) from error

    def whiteouts(self) -> list[bytes]:
        """Names that the layer hides of those below and does not hold itself."""
        return sorted(name for name in self._removed if _is_whiteout(name))

    def _spend(self, count: int) -> None:
        self._told(count)
        self.taken += count

    def _write(self, entry: TarEntry, name: bytes, reader: TarReader) -> None:
        parent, _, base = name.rpartition(b"/")
        parent = parent or b"."
        if parent not in self._folders:
            self._ensure(parent)
        if base.startswith(WHITEOUT):
            self._whiteout(parent, base)
            return
        match entry.kind:
            case tarstream.FOLDER:
                self._folder(entry, name)
            case tarstream.REGULAR:
                self._regular(entry, name, reader)
            case tarstream.HARDLINK:
                self._hardlink(entry, name)
            case _:
                self._special(entry, name)

    def _folder(self, entry: TarEntry, name: bytes) -> None:
        if name != b"." and name not in self._folders:
            try:
                os.mkdir(name, 0o755)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(name).st_mode):
                    self._replace(name)
                    os.mkdir(name, 0o755)
            if name in self._removed:
                # The layer removed what was there below and made a folder anew: the old content must not show.
                self._set_opaque(name)
            self._know(name)
        self.implicit.discard(name)
        self._attributes[name] = entry

    def _regular(self, entry: TarEntry, name: bytes, reader: TarReader) -> None:
        try:
            descriptor = os.open(name, _CREATE, entry.mode & 0o777)
        except FileExistsError:
            self._replace(name)
            descriptor = os.open(name, _CREATE, entry.mode & 0o777)
        try:
            if entry.pieces is not None:
                self.unpacked += _write_pieces(descriptor, entry, reader)
            elif entry.size:
                for span in reader.content():
                    written = os.write(descriptor, span)
                    while written < len(span):
                        written += os.write(descriptor, span[written:])
                self.unpacked += entry.size
            if entry.uid or entry.gid:
                os.fchown(descriptor, entry.uid, entry.gid)
            if entry.mode & 0o7000:
                os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                _set_xattrs(descriptor, entry.xattrs)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _hardlink(self, entry: TarEntry, name: bytes) -> None:
        target = safe_name(entry.link)
        if target == name:
            return
        if target in self._removed and _is_whiteout(target):
            raise tarstream.broken(f"it links to {os.fsdecode(target[:200])!r}, which it removes itself")
        try:
            os.link(target, name, follow_symlinks=False)
        except FileExistsError:
            self._replace(name)
            os.link(target, name, follow_symlinks=False)

    def _special(self, entry: TarEntry, name: bytes) -> None:
        try:
            _make_special(entry, name)
        except FileExistsError:
            self._replace(name)
            _make_special(entry, name)
        os.chown(name, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != tarstream.SYMLINK:
            # What was just made is no symlink, so that chmod cannot follow one.
            os.chmod(name, entry.mode)
        os.utime(name, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    def _whiteout(self, parent: bytes, base: bytes) -> None:
        if base == OPAQUE:
            self._set_opaque(parent)
            return
        if base.startswith(WHITEOUT + WHITEOUT):
            return  # aufs keeps its own books under these names
        hidden = base[len(WHITEOUT) :]
        if hidden in {b"", b".", b".."}:
            raise tarstream.broken(f"it removes the impossible name {os.fsdecode(hidden)!r}")
        name = hidden if parent == b"." else parent + b"/" + hidden
        if name in self._removed:
            return
        self._removed.add(name)
        try:
            os.mknod(name, stat.S_IFCHR | 0o000, os.makedev(0, 0))
        except FileExistsError:
            # The layer holds the name itself, so the one below is hidden already; a folder would be merged.
            if stat.S_ISDIR(os.lstat(name).st_mode):
                self._set_opaque(name)

    def _set_opaque(self, folder: bytes) -> None:
        if folder not in self._opaque:
            os.setxattr(folder, OPAQUE_XATTR, b"y", follow_symlinks=False)
            self._opaque.add(folder)

    def _ensure(self, folder: bytes) -> None:
        """Make `folder` and its parents where no entry did. They take the attributes of the layers below later on."""
        made = b""
        for part in folder.split(b"/"):
            made = made + b"/" + part if made else part
            if made in self._folders:
                continue
            self._spend(ENTRY_BYTES)
            try:
                os.mkdir(made, 0o755)
                self.implicit.add(made)
            except FileExistsError:
                # A symlink to a folder is followed, inside this root; so do the builders' own tools.
                if not _is_folder(made):
                    self._replace(made)
                    os.mkdir(made, 0o755)
                    self.implicit.add(made)
                    if made in self._removed:
                        self._set_opaque(made)
            self._know(made)

    def _know(self, folder: bytes) -> None:
        self._folders.add(folder)
        self._inside.setdefault(folder.rpartition(b"/")[0], set()).add(folder)

    def _replace(self, name: bytes) -> None:
        """Take away what an earlier entry of this layer left at `name`."""
        if name == b".":
            raise tarstream.broken("it replaces its own root by something else")
        if stat.S_ISDIR(os.lstat(name).st_mode):
            files.remove_tree(name)
        else:
            os.unlink(name)
        # Not by a look at all that is known: a layer may replace as many names as it has folders.
        gone = [name]
        while gone:
            one = gone.pop()
            for known in (self._folders, self.implicit, self._opaque):
                known.discard(one)
            self._attributes.pop(one, None)
            gone += self._inside.pop(one, ())


def safe_name(raw: bytes) -> bytes:
    """`raw` relative to the layer's root, without ".", ".." and empty parts. Raises Fault where it climbs out."""
    name = raw.strip(b"/")
    if b".." in name or b"//" in name or name.startswith(b"./") or b"/./" in name or name.endswith(b"/."):
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts:
                    raise tarstream.broken(f"the name {os.fsdecode(raw[:200])!r} leads out of the layer's folder")
                parts.pop()
            elif part not in {b"", b"."}:
                parts.append(part)
        name = b"/".join(parts)
    return name or b"."


def fault_of(error: OSError | OverflowError | ValueError, name: bytes) -> Fault:
    """What the system said about one entry, as a Fault; all but an OSError are of values that no system knows."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Fault(
            Kind.UNAVAILABLE,
            "layer",
            "no space is left on the disk of this cell",
            "ask for a larger disk, or remove images",
            reason="NoSpace",
        )
    shown = os.fsdecode(name[:200])
    return Fault(Kind.BROKEN, "layer", f"its entry {shown!r} cannot be unpacked ({why})", "build and push it again")


def _needs(entry: TarEntry) -> int:
    """The bytes of disk that an entry takes at the most, but for folders on the way to it."""
    content = entry.size
    if entry.pieces is not None:
        content = sum(_blocks(at % _BLOCK + length) for at, length in entry.pieces)
        content += _blocks(PIECE_BYTES * len(entry.pieces))
    allowed = allowed_xattrs((entry.xattrs or {}).items())
    attributes = sum(len(name.encode(errors="surrogateescape")) + len(value) for name, value in allowed)
    return content + _blocks(attributes) + ENTRY_BYTES


def _blocks(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def _write_pieces(descriptor: int, entry: TarEntry, reader: TarReader) -> int:
    """Write a sparse file: the pieces where they belong, nothing in between. How many bytes were written."""
    os.ftruncate(descriptor, entry.whole)
    pieces = iter(entry.pieces or ())
    at = left = written = 0
    for span in reader.content():
        rest = span
        while rest:
            if not left:
                at, left = next(pieces)
            done = os.pwrite(descriptor, rest[:left], at)
            at, left, written, rest = at + done, left - done, written + done, rest[done:]
    return written


def _make_special(entry: TarEntry, name: bytes) -> None:
    match entry.kind:
        case tarstream.SYMLINK:
            os.symlink(entry.link, name)
        case tarstream.FIFO:
            os.mknod(name, stat.S_IFIFO | 0o600)
        case tarstream.CHARACTER:
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(entry.major, entry.minor))
        case _:
            os.mknod(name, stat.S_IFBLK | 0o600, os.makedev(entry.major, entry.minor))


def _set_folder(name: bytes, entry: TarEntry) -> None:
    # Through a descriptor that follows no symlink, even if our own books were wrong.
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        if entry.xattrs:
            _set_xattrs(descriptor, entry.xattrs)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))
    finally:
        os.close(descriptor)


def _set_xattrs(descriptor: int, xattrs: dict[str, bytes]) -> None:
    for name, value in allowed_xattrs(xattrs.items()):
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EPERM}:
                raise


def allowed_xattrs(xattrs: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """File capabilities and users' own attributes. overlayfs's private ones would let a layer steer the mount."""
    return [
        (name, value)
        for name, value in xattrs
        if name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))
    ]


def _is_whiteout(name: bytes) -> bool:
    try:
        seen = os.lstat(name)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0


def _is_folder(name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name).st_mode)
    except OSError:
        return False
