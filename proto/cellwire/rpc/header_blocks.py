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

TABLE = 4096
"""Octets of an encoder's table at most, whatever the peer allows: it is searched from end to end for each header."""

Header = tuple[bytes, bytes]
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

    @Encoder.header_table_size.setter
    def header_table_size(self, value: int) -> None:
        Encoder.header_table_size.__set__(self, min(value, TABLE))

    def encode(self, headers: Any, huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002  hpack's
        """The block of these headers."""
        table = self.header_table
        given = tuple(headers) if not isinstance(headers, dict) else ()
        if table.resized or not given or not huffman or any(_secret(one) for one in given):
            return super().encode(given or headers, huffman)
        if self._kept_at == table.changes and (block := self._kept.get(given)) is not None:
            return block
        before = table.changes
        block = super().encode(given, huffman)
        if before == table.changes and len(block) <= LONGEST:
            self._kept_at = _keep(self._kept, self._kept_at, before, given, block)
        return block


class RecallingDecoder(Decoder):
    """hpack's."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.header_table = _Table()
        self._kept: dict[bytes, tuple[HeaderTuple, ...]] = {}
        self._kept_at = 0
        self._kept_limits = self._limits

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
            self._kept_limits = self._limits
        if self._kept_at == table.changes and (headers := self._kept.get(data)) is not None:
            return list(headers)
        before = table.changes
        found = list(super().decode(data, raw))
        if before == table.changes and len(found) <= MOST:
            self._kept_at = _keep(self._kept, self._kept_at, before, bytes(data), tuple(found))
        return found


def _keep(kept: dict[Key, Value], since: int, now: int, key: Key, value: Value) -> int:
    """Keep one more, and nothing of an earlier table; as of which change of the table they hold."""
    if since != now or len(kept) >= MOST:
        kept.clear()
    kept[key] = value
    return now


def _secret(header: Any) -> bool:
    """Whether a header must never be in a table: equal ones need not be the same to HPACK."""
    return len(header) > 2 or (isinstance(header, HeaderTuple) and not header.indexable)
