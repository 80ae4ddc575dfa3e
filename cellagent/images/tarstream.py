"""Reads a tar stream entry by entry: ustar, GNU long names, base-256 numbers and sparse files, pax headers. Pure.

The stream is whatever `Source` yields; a layer is hostile until proved otherwise, so every length has a limit and
whatever is malformed is a Fault BROKEN. A missing end marker or padding after the last entry is accepted, since
some builders leave them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from cellagent.images import sparse
from cellwire.faults import Fault, Kind

BLOCK = 512
PAX_LIMIT = 1 << 20
"""Bytes of all the extension headers of one entry. What is said of all entries is kept, and so has less."""
GLOBAL_LIMIT = 64 << 10
NAME_LIMIT = 64 << 10
ENTRIES_LIMIT = 5_000_000
_ZERO = bytes(BLOCK)
_XATTR = b"SCHILY.xattr."
_GNU_SPARSE = b"GNU.sparse."
_SPARSE = b"S"

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KNOWN = frozenset((REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO))


class TarEntry(msgspec.Struct):
    """One entry, as written: nothing in it has been judged. `mtime` is in nanoseconds.

    `size` is what the archive holds of it. Of a sparse file that is in `pieces`, and the file has `whole` bytes.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[str, bytes] | None
    pieces: sparse.Pieces | None = None
    whole: int = 0


class ByteSource:
    """A stream of chunks, taken in pieces. `more` returns the next chunk, or b"" at the end."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._chunk = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """`size` bytes, or fewer where the stream ends."""
        at = self._at
        piece = self._chunk[at : at + size]
        self._at = at + len(piece)
        if len(piece) == size:
            return piece
        pieces = [piece]
        missing = size - len(piece)
        while missing and self._refill():
            pieces.append(self._chunk[:missing])
            self._at = len(pieces[-1])
            missing -= self._at
        return b"".join(pieces)

    def spans(self, size: int) -> Iterator[memoryview]:
        """`size` bytes in whatever pieces they come; fewer where the stream ends."""
        while size:
            if self._at == len(self._chunk) and not self._refill():
                return
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; how many there were."""
        return sum(len(span) for span in self.spans(size))

    def drain(self) -> None:
        """Read to the end of the stream."""
        while self._refill():
            pass

    def _refill(self) -> bool:
        self._chunk = self._more()
        self._at = 0
        return bool(self._chunk)


class _Pending:
    """What extension headers said about the entry that follows them."""

    __slots__ = ("link", "name", "pax", "size")

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.link: bytes | None = None
        self.pax: dict[bytes, bytes] = {}
        self.size = 0


class TarReader:
    """Iterates over the entries; `content()` gives the present entry's bytes, at most once. The rest is skipped."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._global: dict[bytes, bytes] = {}
        self._global_size = 0
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        pending = _Pending()
        count = 0
        while True:
            header = self._source.take(BLOCK)
            if len(header) < BLOCK or header == _ZERO:
                if header.strip(b"\0"):
                    raise broken("the archive ends in the middle of a header")
                return
            entry = parse_header(header)
            count += 1
            if count > ENTRIES_LIMIT:
                raise broken(f"the archive has more than {ENTRIES_LIMIT} entries")
            if self._extends(entry, pending):
                continue
            said = {**self._global, **pending.pax} if self._global else pending.pax
            old = self._old_sparse(entry, header) if entry.kind == _SPARSE else None
            _apply(entry, pending, said)
            pending = _Pending()
            self._left = entry.size
            self._padding = -entry.size % BLOCK
            if old is not None:
                entry.pieces = sparse.checked(old, entry.whole, entry.size)
            elif entry.kind == REGULAR and any(key.startswith(_GNU_SPARSE) for key in said):
                self._pax_sparse(entry, said)
            yield entry
            self._finish()

    def content(self) -> Iterator[memoryview]:
        """The present entry's bytes. Raises Fault where the stream ends too early."""
        for span in self._source.spans(self._left):
            self._left -= len(span)
            yield span
        if self._left:
            raise broken("the archive ends in the middle of a file")

    def _old_sparse(self, entry: TarEntry, header: bytes) -> list[tuple[int, int]]:
        """The map in an entry's header and in the blocks that follow it."""
        pieces = _old_pieces(header, *sparse.OLD_IN_HEADER)
        entry.whole, more = number(header[483:495]), header[482]
        while more:
            block = self._source.take(BLOCK)
            if len(block) < BLOCK or len(pieces) > sparse.PIECES_LIMIT:
                raise broken("a sparse file's map does not end")
            pieces += _old_pieces(block, *sparse.OLD_IN_BLOCK)
            more = block[504]
        entry.kind = REGULAR
        return pieces

    def _pax_sparse(self, entry: TarEntry, said: dict[bytes, bytes]) -> None:
        """What records say of a sparse file, in any of their versions; a map in the content is read from there."""
        entry.name = said.get(b"GNU.sparse.name", entry.name)
        version = (said.get(b"GNU.sparse.major", b"0"), said.get(b"GNU.sparse.minor", b"0"))
        if version == (b"1", b"0"):
            entry.whole = sparse.whole(said.get(b"GNU.sparse.realsize", b""))
            pieces, reader = None, sparse.MapReader()
            while pieces is None:
                block = self._source.take(min(BLOCK, self._left))
                if len(block) < BLOCK:
                    raise broken("a sparse file ends in the middle of its map")
                self._left -= BLOCK
                pieces = reader.feed(block)
        elif version[0] == b"0":
            entry.whole = sparse.whole(said.get(b"GNU.sparse.size", b""))
            pieces = sparse.of_text(said.get(sparse.MAP, b""))
        else:
            raise _unsupported("a sparse file of an unknown version")
        if b"\0" in entry.name:
            raise broken("a name holds a zero byte")
        entry.pieces = sparse.checked(pieces, entry.whole, self._left)
        entry.size = self._left

    def _finish(self) -> None:
        if self._left and self._source.skip(self._left) < self._left:
            raise broken("the archive ends in the middle of a file")
        # Missing padding after the last file is some builders' habit.
        self._source.take(self._padding)
        self._left = self._padding = 0

    def _extends(self, entry: TarEntry, pending: _Pending) -> bool:
        """Whether `entry` is an extension header; if so, what it says is kept for the next entry."""
        match entry.kind:
            case b"L":
                pending.name = self._body(entry, NAME_LIMIT).partition(b"\0")[0]
            case b"K":
                pending.link = self._body(entry, NAME_LIMIT).partition(b"\0")[0]
            case b"x" | b"X":
                pending.pax |= parse_pax(self._body(entry, PAX_LIMIT - pending.size))
                pending.size += entry.size
            case b"g":
                self._global |= parse_pax(self._body(entry, GLOBAL_LIMIT - self._global_size))
                self._global_size += entry.size
            case _:
                return False
        return True

    def _body(self, entry: TarEntry, limit: int) -> bytes:
        if entry.size > limit:
            raise broken(f"an extension header claims {entry.size} bytes where at most {limit} are accepted")
        body = self._source.take(entry.size)
        if len(body) < entry.size:
            raise broken("the archive ends in the middle of an extension header")
        self._source.take(-entry.size % BLOCK)
        return body


def parse_header(header: bytes) -> TarEntry:
    """One header block of 512 bytes."""
    checksum = number(header[148:156])
    summed = header[:148] + b" " * 8 + header[156:]
    # Some old writers took bytes for signed numbers.
    if checksum not in {sum(summed), sum(summed) - 256 * sum(byte > 127 for byte in summed)}:
        raise broken("a header's checksum is wrong")
    kind = header[156:157]
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
        if prefix:
            name = prefix + b"/" + name
    if kind in {b"\0", b"7"}:
        kind = REGULAR
    device = kind in {CHARACTER, BLOCK_DEVICE}
    return TarEntry(
        name,
        kind,
        number(header[100:108]) & 0o7777,
        number(header[108:116]),
        number(header[116:124]),
        number(header[124:136]),
        number(header[136:148], signed=True) * 1_000_000_000,
        header[157:257].partition(b"\0")[0],
        number(header[329:337]) if device else 0,
        number(header[337:345]) if device else 0,
        None,
    )


def number(field: bytes, *, signed: bool = False) -> int:
    """A header's number: octal text, or base-256 where the first bit is set."""
    if field[:1] >= b"\x80":
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if (value < 0 and not signed) or abs(value) >= 1 << 62:
            raise broken("a header holds a number out of range")
        return value
    text = field.strip(b" \0")
    if not text:
        return 0
    if not text.isdigit():
        raise broken("a header holds a number that is none")
    try:
        return int(text, 8)
    except ValueError:
        raise broken("a header holds a number that is none") from None


def parse_pax(body: bytes) -> dict[bytes, bytes]:
    """The records of a pax extension header."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body) and body[at] != 0:
        space = body.find(b" ", at, at + 21)
        digits = body[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise broken("a pax header's record has no length")
        end = at + int(digits)
        if end > len(body) or end <= space + 1 or body[end - 1] != 0x0A:
            raise broken("a pax header's record has a wrong length")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise broken("a pax header's record has no key")
        if key in {sparse.OFFSET, sparse.LENGTH}:
            # Version 0.0 repeats these two in turn: together they are the map of version 0.1.
            key, value = sparse.MAP, records[sparse.MAP] + b"," + value if sparse.MAP in records else value
        records[key] = value
        at = end
    return records


def _old_pieces(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    pairs = [block[at : at + 24] for at in range(start, start + 24 * count, 24)]
    return [(number(pair[:12]), number(pair[12:])) for pair in pairs if pair[:1] != b"\0"]


def _apply(entry: TarEntry, pending: _Pending, said: dict[bytes, bytes]) -> None:
    if pending.name is not None:
        entry.name = pending.name
    if pending.link is not None:
        entry.link = pending.link
    for key, value in said.items():
        _apply_record(entry, key, value)
    if entry.kind == REGULAR and entry.name.endswith(b"/"):
        # The oldest archives mark folders so. Only now: a header's own name may be one cut short.
        entry.kind = FOLDER
    if entry.kind not in _KNOWN:
        raise _unsupported(f"an entry of kind {entry.kind!r}")
    if entry.kind != REGULAR:
        # A link's size may say how large its target is; no content follows.
        entry.size = 0
    if b"\0" in entry.name or b"\0" in entry.link:
        raise broken("a name holds a zero byte")


def _apply_record(entry: TarEntry, key: bytes, value: bytes) -> None:
    match key:
        case b"path":
            entry.name = value
        case b"linkpath":
            entry.link = value
        case b"size":
            entry.size = _whole(value)
        case b"uid":
            entry.uid = _whole(value)
        case b"gid":
            entry.gid = _whole(value)
        case b"mtime":
            entry.mtime = _nanoseconds(value)
        case _ if key.startswith(_XATTR):
            entry.xattrs = entry.xattrs or {}
            entry.xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value
        case _:
            pass


def _whole(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise broken("a pax header holds a number that is none")
    return int(value)


def _nanoseconds(value: bytes) -> int:
    sign = -1 if value.startswith(b"-") else 1
    whole, _, fraction = value.lstrip(b"-").partition(b".")
    if not whole.isdigit() or len(whole) > 11 or (fraction and not fraction.isdigit()):
        raise broken("a pax header holds a time that is none")
    return sign * (int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def broken(cause: str) -> Fault:
    """A fault of the archive's own."""
    return Fault(Kind.BROKEN, "layer", cause, "build and push the image again")


def _unsupported(what: str) -> Fault:
    return Fault(Kind.UNSUPPORTED, "layer", f"the archive holds {what}, which is not supported", "build it without")
