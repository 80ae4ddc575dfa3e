"""Frames are taken in as h2 takes them, whatever is cut where, but for DATA, which comes as it comes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingAckReceived, StreamEnded
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.carried import Octets
from cellwire.rpc.data_frames import COLLECTED, TOGETHER, DataConnection, Intake

MOST = 1 << 20
HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/x")]


def data(size: int, *, end: bool, padding: int = 0) -> list[Frame]:
    frame = DataFrame(3, (bytes(range(251)) * (size // 251 + 1))[:size])
    frame.pad_length = padding
    frame.flags |= {"END_STREAM"} if end else set()
    frame.flags |= {"PADDED"} if padding else set()
    return [frame]


def headers(first: bytes, more: list[bytes]) -> list[Frame]:
    parts: list[Frame] = [HeadersFrame(5, first), *(ContinuationFrame(5, each) for each in more)]
    parts[-1].flags.add("END_HEADERS")
    return parts


frames = st.one_of(
    st.builds(data, st.sampled_from([0, 1, 300, TOGETHER - 1, TOGETHER, 3 * TOGETHER]), end=st.booleans()),
    st.builds(data, st.sampled_from([1, 40_000]), end=st.booleans(), padding=st.integers(1, 200)),
    st.builds(headers, st.binary(max_size=90), st.lists(st.binary(max_size=90), max_size=2)),
    st.just([PingFrame(0, b"12345678")]),
    st.builds(lambda value: [SettingsFrame(0, {4: value})], st.integers(0, 1000)),
)


def known(buffer: FrameBuffer, chunks: Iterable[bytes]) -> list[tuple[type[Frame], bytes, frozenset[str]]]:
    """What comes out of a buffer, data of one frame together; what was given is overwritten, and let go of, at once."""
    found: list[tuple[type[Frame], bytes, frozenset[str]]] = []
    buffer.max_frame_size = MOST
    for chunk in chunks:
        shared = bytearray(chunk)
        buffer.add_data(memoryview(shared))
        for frame in buffer:
            body = frame.data if isinstance(frame, DataFrame | HeadersFrame) else frame.serialize_body()
            found.append((type(frame), body, frozenset(frame.flags)))
        shared[:] = b"\xff" * len(shared)
        shared.clear()  # none may look at any of it by now
    return found


def together(found: list[tuple[type[Frame], bytes, frozenset[str]]]) -> list[object]:
    """With DATA frames that follow each other as one, up to the last of the stream."""
    merged: list[tuple[type[Frame], bytes, frozenset[str]]] = []
    for kind, body, flags in found:
        flags -= {"PADDED"}
        if kind is DataFrame and merged and merged[-1][0] is DataFrame and not merged[-1][2]:
            merged.append((kind, merged.pop()[1] + body, flags))
        else:
            merged.append((kind, body, flags))
    return [*merged]


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 50_000), min_size=1, max_size=9))
def test_frames_are_those_of_h2_however_they_are_cut(sent: list[list[Frame]], cuts: list[int]) -> None:
    octets = b"".join(frame.serialize() for group in sent for frame in group)
    chunks, at = list[bytes](), 0
    while at < len(octets):
        cut = max(cuts[len(chunks) % len(cuts)], len(octets) // 300)
        chunks.append(octets[at : at + cut])
        at += len(chunks[-1])
    ours, theirs = known(Intake(server=False), chunks), known(FrameBuffer(server=False), chunks)
    assert together(ours) == together(theirs)


def test_a_frame_that_trickles_in_is_no_more_work_than_its_bytes() -> None:
    [frame] = data(10 * TOGETHER, end=True)
    assert isinstance(frame, DataFrame)
    octets = frame.serialize()
    found = known(Intake(server=False), (octets[at : at + 1] for at in range(len(octets))))
    assert len(found) == 10
    assert b"".join(body for _, body, _ in found) == frame.data


def test_a_preface_may_come_in_parts() -> None:
    octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize() + PingFrame(0, b"12345678").serialize()
    chunks = [octets[at : at + 5] for at in range(0, len(octets), 5)]
    assert [kind for kind, _, _ in known(Intake(server=True), chunks)] == [SettingsFrame, PingFrame]


@pytest.mark.parametrize(("kind", "length"), [(0, MOST + 1), (1, MOST + 1), (1, COLLECTED + 1), (4, COLLECTED + 1)])
def test_a_frame_that_is_too_long_is_refused_by_its_head(kind: int, length: int) -> None:
    head = length.to_bytes(3) + bytes((kind, 0)) + (1 if kind < 2 else 0).to_bytes(4)
    with pytest.raises(FrameTooLargeError):
        known(Intake(server=False), [head])


def test_data_within_a_block_of_headers_breaks_the_protocol() -> None:
    octets = HeadersFrame(5, b"abc").serialize() + data(40_000, end=False)[0].serialize()
    with pytest.raises(ProtocolError):
        known(Intake(server=False), [octets])


def test_data_without_a_stream_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        known(Intake(server=False), [(5).to_bytes(3) + bytes(6) + b"abcde"])


@given(st.lists(st.integers(1, 3 * TOGETHER), min_size=1, max_size=6))
def test_octets_reach_a_peer_in_their_turn_and_take_of_its_windows(sizes: list[int]) -> None:
    ours = DataConnection(H2Configuration(client_side=True))
    peer = H2Connection(H2Configuration(client_side=False))
    for each in (ours, peer):
        each.initiate_connection()
    peer.increment_flow_control_window(MOST)
    ours.send_headers(1, HEADERS)
    peer.receive_data(ours.data_to_send())
    ours.receive_data(peer.data_to_send())
    parts = [bytes([at]) * size for at, size in enumerate(sizes)]
    whole, at, got = Octets(parts), 0, b""
    while at < len(whole):
        window = ours.local_flow_control_window(1)
        part = whole.cut(at, at + min(window, ours.max_outbound_frame_size, TOGETHER))
        at += len(part)
        ours.ping(b"12345678")
        ours.send_data(1, part, end_stream=at == len(whole))  # type: ignore[arg-type]
        assert ours.local_flow_control_window(1) == window - len(part)
        events = peer.receive_data(b"".join(ours.parts_to_send()))
        got += b"".join(event.data or b"" for event in events if isinstance(event, DataReceived))
        assert any(isinstance(event, StreamEnded) for event in events) == (at == len(whole))
        peer.acknowledge_received_data(len(part), 1)
        back = ours.receive_data(peer.data_to_send())
        assert any(isinstance(event, PingAckReceived) for event in back)
    assert got == b"".join(parts)
    assert ours.data_to_send() == b""


def test_a_frame_to_a_stream_that_was_reset_is_answered_once_and_given_back_whole() -> None:
    client = H2Connection(H2Configuration(client_side=True))
    server = DataConnection(H2Configuration(client_side=False))
    server.max_inbound_frame_size = MOST
    client.initiate_connection()
    server.initiate_connection()
    server.increment_flow_control_window(MOST)
    client.send_headers(1, HEADERS)
    server.receive_data(client.data_to_send())
    server.reset_stream(1)
    server.data_to_send()
    for _ in range(2):
        sent = DataFrame(1, bytes(MOST // 2)).serialize()
        for at in range(0, len(sent), TOGETHER):
            server.receive_data(sent[at : at + TOGETHER])
    answers = FrameBuffer()
    answers.max_frame_size = MOST
    answers.add_data(server.data_to_send())
    told = list(answers)
    assert sum(isinstance(frame, RstStreamFrame) for frame in told) == 2
    given = sum(frame.window_increment for frame in told if isinstance(frame, WindowUpdateFrame))
    assert MOST // 2 <= given <= MOST
