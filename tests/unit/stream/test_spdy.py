"""SPDY frames: what is written is read, however it is cut, and nothing else is believed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.stream import spdy
from cellwire.stream.spdy_dictionary import DICTIONARY

NAMES = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40).filter(lambda value: "\0" not in value), max_size=5)


Told = spdy.Event | tuple[int, bytes, bool]


def decoded(decoder: spdy.Decoder, chunks: Sequence[bytes]) -> list[Told]:
    """Events, with payloads of one stream in a row joined: how a frame was cut does not matter."""
    events: list[Told] = []
    for event in (event for chunk in chunks for event in decoder.receive(chunk)):
        if not isinstance(event, spdy.Data):
            events.append(event)
            continue
        payload = bytes(event.payload)
        last = events[-1] if events else None
        if isinstance(last, tuple) and not isinstance(last, spdy.Data) and last[0] == event.stream and not last[2]:
            payload = last[1] + payload
            events.pop()
        events.append((event.stream, payload, event.fin))
    return events


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


def test_the_dictionary_is_the_standards() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=300), st.booleans()), max_size=6), st.lists(st.integers(0)))
def test_what_is_written_is_read_however_it_is_cut(
    streams: list[tuple[dict[str, str], bytes, bool]], places: list[int]
) -> None:
    encoder, sent = spdy.Encoder(), b""
    expected: list[Told] = []
    for index, (headers, payload, fin) in enumerate(streams):
        number = 2 * index + 1
        sent += encoder.open(number, headers, fin=fin) + spdy.ping(number)
        sent += spdy.data_header(number, len(payload), fin=fin) + payload + spdy.reset(number, spdy.Reset.CANCEL)
        expected += [spdy.StreamOpened(number, headers, fin, unidirectional=False), spdy.Pinged(number)]
        expected += [(number, payload, fin), spdy.WasReset(number, spdy.Reset.CANCEL)]
    sent += encoder.reply(2, {"a": "b"}) + spdy.going_away(7)
    expected += [spdy.Replied(2, {"a": "b"}, fin=False), spdy.GoingAway(7)]
    assert decoded(spdy.Decoder(), cut(sent, places)) == expected


FRAMES = st.lists(st.tuples(st.sampled_from([1, 3]), st.binary(max_size=20), st.booleans()), max_size=200)


@given(FRAMES, st.lists(st.integers(0)))
def test_frames_in_a_row_carry_what_each_would_alone(frames: list[tuple[int, bytes, bool]], places: list[int]) -> None:
    sent, expected = b"", list[Told]()
    for number, payload, fin in frames:
        sent += spdy.data_header(number, len(payload), fin=fin) + payload
        last = expected[-1] if expected else None
        if isinstance(last, tuple) and not isinstance(last, spdy.Data) and last[0] == number and not last[2]:
            payload = last[1] + payload  # noqa: PLW2901 # as `decoded` joins them
            expected.pop()
        expected.append((number, payload, fin))
    assert decoded(spdy.Decoder(), cut(sent, places)) == expected


def test_frames_in_a_row_are_one_event_until_they_are_many() -> None:
    row = (spdy.data_header(1, 2) + b"ab") * 64
    events = list(spdy.Decoder().receive(row + spdy.data_header(1, 1) + b"c" + spdy.data_header(1, 1, fin=True) + b"d"))
    assert events == [spdy.Data(1, b"ab" * 64, fin=False), spdy.Data(1, b"c", fin=False), spdy.Data(1, b"d", fin=True)]


@given(st.binary(max_size=400), st.lists(st.integers(0)))
def test_any_bytes_are_events_or_malformed(data: bytes, places: list[int]) -> None:
    def told(chunks: Sequence[bytes]) -> object:
        try:
            return decoded(spdy.Decoder(), chunks)
        except spdy.Malformed as reason:
            return str(reason)

    assert told([data]) == told(cut(data, places))


def control(kind: int, body: bytes, *, version: int = 3, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80000000 | version << 16 | kind, flags << 24 | len(body)) + body


def block(plain: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    return deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)


def syn(plain: bytes) -> bytes:
    return control(1, struct.pack(">IIH", 1, 0, 0) + block(plain))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (control(1, bytes(10), version=2), "version 2"),
        (control(1, bytes(4)), "SYN_STREAM frame of 4 bytes"),
        (control(6, b""), "PING frame of 0 bytes"),
        (control(3, bytes(4)), "RST_STREAM frame of 4 bytes"),
        (control(1, bytes(10) + b"not zlib"), "does not inflate"),
        (control(1, bytes(10)), "without a count"),
        (syn(struct.pack(">I", 3) + bytes(4)), "ends early"),
        (syn(struct.pack(">II", 1, 0xFFFFFFFF)), "ends early"),
        (syn(struct.pack(">I", 101)), "101 headers"),
        (syn(bytes(100_000)), "more than 65536 bytes"),
        (struct.pack(">II", 0x80030001, 70_000), "70000 bytes"),
        (struct.pack(">II", 0, 5), "stream 0"),
    ],
)
def test_a_malformed_frame_is_named(frame: bytes, reason: str) -> None:
    with pytest.raises(spdy.Malformed, match=reason):
        list(spdy.Decoder().receive(frame))


def test_a_small_block_that_inflates_to_gigabytes_costs_no_memory() -> None:
    deflate = zlib.compressobj(level=9, zdict=DICTIONARY)
    bomb = deflate.compress(bytes(60_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 64 * 1024
    with pytest.raises(spdy.Malformed, match="more than 65536 bytes"):
        list(spdy.Decoder().receive(control(1, bytes(10) + bomb)))


def test_unknown_control_frames_and_settings_are_read_over() -> None:
    data = control(4, bytes(12)) + control(9, bytes(8)) + control(99, b"x") + spdy.ping(1)
    assert list(spdy.Decoder().receive(data)) == [spdy.Pinged(1)]


def test_names_are_lowered_and_the_first_of_several_values_counts() -> None:
    plain = struct.pack(">II", 1, 10) + b"streamType" + struct.pack(">I", 7) + b"a\0b\0cde"
    (event,) = spdy.Decoder().receive(syn(plain))
    assert isinstance(event, spdy.StreamOpened)
    assert event.headers == {"streamtype": "a"}
