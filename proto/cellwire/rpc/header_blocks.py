"""HPACK blocks of headers that say again what an earlier one said: neither written nor read anew. No I/O.

A call's headers and its end are the same few lines each time, and once all of them are in the connection's table, so
are the octets. What is kept holds for as long as that table stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from hpack import Decoder, Encoder, HeaderTuple
from hpack.table import HeaderTable

MOST = 16
"""Blocks that are kept of a connection in each direction: there are three or four of each method."""
LONGEST = 64
"""Octets of a block that is kept: one that is in the table has one for each header."""

LARGEST = 1024
"""Octets of the headers that such a block may say: it can name a long one in the table many times."""

TABLE = 4096
"""Octets of an encoder's table at most, whatever the peer allows: it is searched from end to end for each header."""

Header = tuple[bytes, bytes]
Given = tuple[Any, ...]
_TUPLES = frozenset({tuple})
Key = TypeVar("Key")
Value = TypeVar("Value")


class _Table(HeaderTable):
    """Tells of its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @HeaderTable.maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.__set__(self, newmax)


class RecallingEncoder(Encoder):
    """hpack's."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table = _Table()
        self._kept: dict[tuple[Header, ...], bytes] = {}
        self._kept_at = 0
        self._last: bytes | None = None  # block, where it was kept
        # The same blocks by what h2 made their headers of.
        self._given: dict[Given, bytes] = {}
        self._given_at = 0

    @Encoder.header_table_size.setter
    def header_table_size(self, value: int) -> None:
        Encoder.header_table_size.__set__(self, min(value, TABLE))

    def encode(self, headers: Any, huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002  hpack's
        """The block of these headers."""
        table = self.header_table
        self._last = None
        given = tuple(headers) if not isinstance(headers, dict) else ()
        if table.resized or not given or not huffman or any(_secret(one) for one in given):
            return super().encode(given or headers, huffman)
        if self._kept_at == table.changes and (block := self._kept.get(given)) is not None:
            self._last = block
            return block
        before = table.changes
        block = super().encode(given, huffman)
        if before == table.changes and len(block) <= LONGEST:
            self._kept_at = _keep(self._kept, self._kept_at, before, given, block)
            self._last = block
        return block

    def recalled(self, given: Given) -> bytes | None:
        """The block of headers that `recall_as` has told; None where it has to be written."""
        table = self.header_table
        if table.resized or self._given_at != table.changes or not _TUPLES.issuperset(map(type, given)):
            return None
        return self._given.get(given)

    def recall_as(self, given: Given) -> None:
        """These headers were what the last block was made of."""
        block, self._last = self._last, None
        if block is not None and _TUPLES.issuperset(map(type, given)) and not _says_more(given):
            self._given_at = _keep(self._given, self._given_at, self.header_table.changes, given, block)


class RecallingDecoder(Decoder):
    """hpack's."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.header_table = _Table()
        self._kept: dict[bytes, tuple[HeaderTuple, ...]] = {}
        self._kept_at = 0
        self._kept_limits = self._limits
        # The same as text; None where h2 has to look at them each time.
        self._texts: dict[bytes, tuple[HeaderTuple, ...] | None] = {}

    @property
    def _limits(self) -> tuple[int, int, int]:
        return self.max_header_list_size, self.max_allowed_table_size, self.header_table.maxsize

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:  # noqa: FBT001, FBT002  hpack's
        """The headers of this block. Raises as hpack does."""
        if not raw or len(data) > LONGEST:
            return super().decode(data, raw)
        table = self.header_table
        if self._kept_limits != self._limits:
            self._kept.clear()
            self._texts.clear()
            self._kept_limits = self._limits
        if self._kept_at == table.changes and (headers := self._kept.get(data)) is not None:
            return list(headers)
        before = table.changes
        found = list(super().decode(data, raw))
        size = sum(len(one[0]) + len(one[1]) for one in found)
        if before == table.changes and len(found) <= MOST and size <= LARGEST:
            if before != self._kept_at or len(self._kept) >= MOST:
                self._texts.clear()
            self._kept_at = _keep(self._kept, self._kept_at, before, bytes(data), tuple(found))
        return found

    def recalled(self, data: bytes, encoding: str) -> list[HeaderTuple] | None:
        """The headers of a block that was read before, as text in this encoding, where they are such as say nothing to
        h2; else None.
        """
        if len(data) > LONGEST or self._kept_at != self.header_table.changes or self._kept_limits != self._limits:
            return None
        if (headers := self._kept.get(data)) is None:
            return None
        if data not in self._texts:
            self._texts[bytes(data)] = _text(headers, encoding)
        found = self._texts[data]
        return list(found) if found is not None else None


def _keep(kept: dict[Key, Value], since: int, now: int, key: Key, value: Value) -> int:
    """Keep one more, and nothing of an earlier table; as of which change of the table they hold."""
    if since != now or len(kept) >= MOST:
        kept.clear()
    kept[key] = value
    return now


def _text(headers: tuple[HeaderTuple, ...], encoding: str) -> tuple[HeaderTuple, ...] | None:
    """As h2 tells them; None for those that h2 has to look at itself."""
    try:
        found = tuple(one.__class__(one[0].decode(encoding), one[1].decode(encoding)) for one in headers)
    except UnicodeDecodeError:
        return None
    return None if _says_more(found) else found


def _says_more(headers: Given) -> bool:
    """Whether h2 keeps something of them for what follows: how long a body is, or that this is no answer yet."""
    return any(
        name == "content-length"
        or (name == ":status" and value.startswith("1"))
        or (name == ":method" and value == "HEAD")
        for name, value in headers
    )


def _secret(header: Any) -> bool:
    """Whether a header must never be in a table: equal ones need not be the same to HPACK."""
    return len(header) > 2 or (isinstance(header, HeaderTuple) and not header.indexable)
