"""A message that carries bytes is the same on the wire and to its receiver as protobuf's, without a copy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from cellwire.cell.v1 import cell_pb2 as pb
from cellwire.rpc.carried import CARRIERS, LEAD, LEAST, Carried, Octets, lead, parted
from cellwire.rpc.written import Codec

FIELDS: list[tuple[type[Message], str]] = [
    (pb.SessionInput, "stdin"),
    (pb.SessionOutput, "stdout"),
    (pb.SessionOutput, "stderr"),
    (pb.PortForwardInput, "data"),
    (pb.PortForwardOutput, "data"),
]
sizes = st.sampled_from([0, 1, 127, 128, LEAST - 5, LEAST - 4, LEAST - 3, LEAST, 70_000])


def octets(message: Any, kind: type[Message]) -> bytes:
    made: Any = Codec().encode(message, kind)
    return made.joined() if isinstance(made, Octets) else made


def in_two(whole: bytes) -> Any:
    """As a stream hands it to the codec."""
    before = lead(whole[:LEAD], len(whole)) if len(whole) >= LEAST else 0
    return Octets((whole[:before], whole[before:])) if before else whole


def test_every_carrier_is_a_message_with_bytes() -> None:
    assert {kind.DESCRIPTOR.full_name for kind, _ in FIELDS} == CARRIERS


@given(st.sampled_from(FIELDS), st.lists(sizes, min_size=1, max_size=3))
def test_the_wire_and_the_receiver_know_no_difference(field: tuple[type[Message], str], cut: list[int]) -> None:
    kind, name = field
    pieces = [bytes([65 + at]) * size for at, size in enumerate(cut)]
    plain = kind(**{name: b"".join(pieces)}).SerializeToString()
    sent = octets(Carried(kind, name, pieces), kind)
    assert sent == plain
    oneof = kind.DESCRIPTOR.oneofs[0].name
    found, got = parted(Codec().decode(in_two(sent), kind), oneof)
    assert (found, b"".join(got)) == (name, b"".join(pieces))


@given(st.binary(max_size=40), st.integers(0, 80))
def test_what_is_no_single_field_of_bytes_is_taken_for_none(start: bytes, more: int) -> None:
    whole = start + bytes(more)
    before = lead(whole[:LEAD], len(whole))
    if before:
        assert whole[0] & 7 == 2
        length = sum((octet & 0x7F) << 7 * at for at, octet in enumerate(whole[1:before]))
        assert before + length == len(whole)


def test_a_long_message_of_another_kind_is_protobufs() -> None:
    for message in (
        pb.SessionInput(start=pb.SessionStart(container_id="x" * LEAST)),
        pb.SessionOutput(failure=pb.SessionFailure(message="x" * LEAST)),
        pb.ReadFileReply(data=bytes(LEAST)),
        pb.LogChunk(data=bytes(LEAST), offset=1),
    ):
        got = Codec().decode(in_two(message.SerializeToString()), type(message))
        assert got == message


def test_one_of_another_call_is_refused() -> None:
    with pytest.raises(TypeError, match="SessionInput"):
        Codec().encode(Carried(pb.SessionInput, "stdin", (b"a",)), pb.SessionOutput)


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_octets_are_cut_as_bytes_are(parts: list[bytes], begin: int, end: int) -> None:
    cut = Octets(parts).cut(begin, end)
    assert cut.joined() == b"".join(parts)[begin:end]
    assert len(cut) == len(cut.joined())
    assert all(cut.parts)
