"""Sparse files in tar archives: where the pieces of their content go. Pure.

GNU tar has four ways to write them: its old header (type S), and three versions of PAX records (0.0, 0.1, 1.0). Source:
GNU tar's manual, "Storing Sparse Files", and what Go's archive/tar accepts.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellwire.faults import Fault, Kind

PIECES_LIMIT = 1 << 20
SIZE_LIMIT = 1 << 50
OLD_IN_HEADER = (386, 4)
"""Place and number of pieces in an old header; 482 says whether more blocks follow, 483 is the size of the file."""
OLD_IN_BLOCK = (0, 21)
MAP, OFFSET, LENGTH = b"GNU.sparse.map", b"GNU.sparse.offset", b"GNU.sparse.numbytes"

Pieces = tuple[tuple[int, int], ...]
"""Offset and length of each, in order."""


def checked(pieces: Sequence[tuple[int, int]], size: int, stored: int) -> Pieces:
    """`pieces` of a file of `size` bytes of which `stored` are in the archive. Raises Fault BROKEN."""
    end = total = 0
    if not 0 <= size <= SIZE_LIMIT:
        raise _broken("claims an impossible size")
    for offset, length in pieces:
        if offset < end or length < 0 or offset + length > size:
            raise _broken("has pieces that overlap or lie outside of it")
        end = offset + length
        total += length
    if total != stored:
        raise _broken(f"has {stored} bytes in the archive and pieces of {total}")
    return tuple(piece for piece in pieces if piece[1])


def paired(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Offsets and lengths in turn, as pieces. Raises Fault BROKEN."""
    if len(numbers) % 2 or len(numbers) > 2 * PIECES_LIMIT:
        raise _broken("has a map of an odd number of numbers, or of too many")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def of_text(text: bytes) -> list[tuple[int, int]]:
    """The map of version 0.1 (and, put together, of 0.0): numbers with commas between them. Raises Fault BROKEN."""
    return paired([whole(number) for number in text.split(b",")] if text else [])


def whole(text: bytes) -> int:
    """A decimal number. Raises Fault BROKEN."""
    if not text.isdigit() or len(text) > 18:
        raise _broken("has a map that holds something else than numbers")
    return int(text)


class MapReader:
    """The map of version 1.0: lines at the head of the content, their number first, in whole blocks."""

    def __init__(self) -> None:
        self._rest = b""
        self._numbers: list[int] = []
        self._wanted = 1

    def feed(self, block: bytes) -> list[tuple[int, int]] | None:
        """The pieces, once all lines are there; None where another block is needed. Raises Fault BROKEN."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > 512 and self._rest.strip(b"\0"):
            raise _broken("has a map without ends of lines")
        for line in lines:
            if len(self._numbers) == self._wanted:
                break
            self._numbers.append(whole(line))
            if len(self._numbers) == 1:
                if self._numbers[0] > PIECES_LIMIT:
                    raise _broken("has too many pieces")
                self._wanted = 1 + 2 * self._numbers[0]
        return paired(self._numbers[1:]) if len(self._numbers) == self._wanted else None


def _broken(what: str) -> Fault:
    return Fault(Kind.BROKEN, "layer", f"a sparse file {what}", "build and push the image again")
