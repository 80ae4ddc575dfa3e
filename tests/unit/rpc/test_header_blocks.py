"""Blocks of headers that are not written or read anew are what hpack itself would write and read."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc import header_blocks
from cellwire.rpc.header_blocks import RecallingDecoder, RecallingEncoder

LARGEST = 1 << 16
CALL = [HeaderTuple(b":path", b"/runtime.v1.RuntimeService/Version"), HeaderTuple(b"te", b"trailers")]
NAMES = st.sampled_from([b"a", b"bb", b"grpc-status", b":path"])
VALUES = st.sampled_from([b"", b"0", b"some value", b"x" * 900])
LINES = st.builds(lambda kind, name, value: kind(name, value), st.sampled_from([HeaderTuple, NeverIndexedHeaderTuple]),
                  NAMES, VALUES)  # fmt: skip
BLOCKS = st.lists(LINES, min_size=1, max_size=4)
STEPS = st.lists(BLOCKS | st.sampled_from([0, 60, 200, 4096]), max_size=20)


def outcome(decoder: Decoder, block: bytes) -> Any:
    try:
        return [(one, one.indexable) for one in decoder.decode(block, raw=True)]
    except HPACKError as error:
        return type(error)


@given(STEPS)
def test_blocks_are_those_of_hpack_whatever_came_before(steps: list[Any]) -> None:
    ours, theirs = RecallingEncoder(), Encoder()
    reading, plain = RecallingDecoder(LARGEST), Decoder(LARGEST)
    for step in steps:
        if isinstance(step, int):
            ours.header_table_size = theirs.header_table_size = step
            reading.max_allowed_table_size = plain.max_allowed_table_size = max(step, 60)
            continue
        for _ in range(3):
            block = ours.encode(step)
            assert block == theirs.encode(step)
            told = outcome(plain, block)
            assert outcome(reading, block) == told
            if not isinstance(told, list):  # a connection ends with this
                return


def test_what_is_in_the_table_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, written = RecallingEncoder(), list[bytes]()
    add = Encoder.add
    monkeypatch.setattr(Encoder, "add", lambda self, line, *more: written.append(line[0]) or add(self, line, *more))
    for _ in range(9):
        encoder.encode(CALL)

    assert written == [b":path", b"te"] * 2  # into the table, then as what is in it


def test_a_block_that_was_read_is_not_shared_with_who_reads_it_again() -> None:
    encoder, decoder = RecallingEncoder(), RecallingDecoder(LARGEST)
    for _ in range(3):
        found = list(decoder.decode(encoder.encode(CALL), raw=True))
        assert found == CALL
        decoded = decoder.decode(encoder.encode(CALL), raw=True)
        assert isinstance(decoded, list)
        decoded.clear()


def test_no_more_is_kept_than_a_connection_may_hold() -> None:
    decoder = RecallingDecoder(LARGEST)
    for number in range(1000):
        # Literal, in no table, a name and a value of few octets.
        decoder.decode(b"\x00\x01a\x03" + f"{number:03}".encode(), raw=True)
    kept: dict[bytes, Any] = vars(decoder)["_kept"]

    assert len(kept) <= header_blocks.MOST


def test_a_peer_that_allows_a_table_of_any_size_does_not_make_ours_grow() -> None:
    encoder, decoder = RecallingEncoder(), Decoder(LARGEST)
    encoder.header_table_size = decoder.max_allowed_table_size = 2**31 - 1
    for number in range(1000):
        header = (b"x-number", b"%d" % number)
        assert decoder.decode(encoder.encode([header]), raw=True) == [header]
    assert len(encoder.header_table.dynamic_entries) < 200
