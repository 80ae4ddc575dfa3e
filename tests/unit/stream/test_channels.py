"""The channel protocols over WebSocket, statuses, window sizes, pairs of streams, tokens."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from cellwire.stream import portforward, remotecommand, websocket
from cellwire.stream.remotecommand import CommandEnded, Failed
from cellwire.stream.session import SessionRequest
from cellwire.stream.spdy import Malformed
from cellwire.stream.streaming_server import StreamTokens

PROTOCOLS = st.sampled_from(websocket.SESSION_PROTOCOLS)


@given(PROTOCOLS, st.integers(0, 70), st.binary(max_size=200))
def test_what_is_encoded_is_decoded(protocol: str, channel: int, payload: bytes) -> None:
    message = websocket.encode(protocol, channel, payload)
    assert isinstance(message, str) == ("base64" in protocol)
    said = websocket.decode(protocol, message)
    assert isinstance(said, websocket.Bytes)
    assert (said.channel, bytes(said.payload)) == (channel, payload)


@given(PROTOCOLS, st.one_of(st.binary(max_size=50), st.text(max_size=50)))
def test_any_message_is_decoded_or_malformed(protocol: str, message: str | bytes) -> None:
    try:
        said = websocket.decode(protocol, message)
    except Malformed:
        return
    assert said is None if not message else said is not None


def test_only_version_five_closes_channels() -> None:
    assert websocket.decode(websocket.V5, b"\xff\x00") == websocket.Closed(0)
    assert websocket.decode(websocket.V4, b"\xff\x00") == websocket.Bytes(255, b"\x00")
    with pytest.raises(Malformed):
        websocket.decode(websocket.V5, b"\xff")


def test_the_first_version_of_the_client_that_we_speak_is_chosen() -> None:
    offered = ["v5.channel.k8s.io, v3.channel.k8s.io", "v4.channel.k8s.io"]
    assert remotecommand.negotiate(offered, remotecommand.VERSIONS) == "v3.channel.k8s.io"
    assert remotecommand.negotiate(["v5.channel.k8s.io"], remotecommand.VERSIONS) is None


def test_the_streams_of_a_request() -> None:
    tty = SessionRequest("c", tty=True, stdin=True, stderr=False)
    assert remotecommand.expected(tty, "v4.channel.k8s.io") == {"error", "stdin", "stdout", "resize"}
    assert remotecommand.expected(tty, "v2.channel.k8s.io") == {"error", "stdin", "stdout"}
    assert remotecommand.expected(SessionRequest("c"), "v4.channel.k8s.io") == {"error", "stdout", "stderr"}


def test_statuses_are_json_since_version_four_and_text_before() -> None:
    failed = json.loads(remotecommand.status(CommandEnded(137), "v5.channel.k8s.io"))
    assert failed["reason"] == "NonZeroExitCode"
    assert failed["details"] == {"causes": [{"reason": "ExitCode", "message": "137"}]}
    broken = json.loads(remotecommand.status(Failed("a: b"), "v4.base64.channel.k8s.io"))
    assert (broken["reason"], broken["code"]) == ("InternalError", 500)
    assert remotecommand.status(CommandEnded(), "v3.channel.k8s.io") == b""
    assert remotecommand.status(Failed("a: b"), "channel.k8s.io") == b"Internal error occurred: a: b"


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=5), st.integers(1, 9))
def test_window_sizes_are_read_however_they_are_cut(sizes: list[tuple[int, int]], step: int) -> None:
    text = b"".join(b'{"Width":%d,"Height":%d}\n' % size for size in sizes)
    reader = remotecommand.WindowSizes()
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    assert [size for piece in pieces for size in reader.receive(piece)] == sizes


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_resize_bytes_are_survived(pieces: list[bytes]) -> None:
    reader = remotecommand.WindowSizes()
    for piece in pieces:
        reader.receive(piece)


def test_deep_and_endless_sizes_are_dropped_and_later_ones_read() -> None:
    reader = remotecommand.WindowSizes()
    assert reader.receive(b'{"a":' * 100_000) == []
    assert reader.receive(b'{"Width":0,"Height":5}{"Width":true,"Height":5}[1]') == []
    assert reader.receive(b'{"Width":80,"Height":24}') == [(80, 24)]


def test_two_streams_of_one_request_are_a_pair() -> None:
    pairing = portforward.Pairing(30)
    headers = {"port": "80", "requestid": "r"}
    assert pairing.opened(1, {"streamtype": "error", **headers}, 0) is None
    assert pairing.opened(3, {"streamtype": "data", **headers}, 1) == portforward.Pair("r", 80, 3, 1)
    assert pairing.expired(100) == []


def test_streams_without_request_numbers_are_paired_by_their_own() -> None:
    pairing = portforward.Pairing(30)
    assert pairing.opened(5, {"streamtype": "error", "port": "80"}, 0) is None
    pair = pairing.opened(7, {"streamtype": "data", "port": "80"}, 0)
    assert pair is not None
    assert (pair.data, pair.error) == (7, 5)


def test_a_lonely_stream_expires_and_a_second_of_its_kind_is_bad() -> None:
    pairing = portforward.Pairing(30)
    headers = {"streamtype": "data", "port": "80", "requestid": "r"}
    pairing.opened(1, headers, 0)
    with pytest.raises(portforward.BadStream):
        pairing.opened(3, headers, 1)
    assert pairing.expired(29.9) == []
    assert pairing.expired(30) == [1]


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "8o", "²", "123456"])
def test_a_port_that_is_none_is_bad(port: str) -> None:
    with pytest.raises(portforward.BadStream):
        portforward.Pairing(30).opened(1, {"streamtype": "data", "port": port}, 0)


def test_waiting_streams_are_limited() -> None:
    pairing = portforward.Pairing(30)
    for number in range(portforward.WAITING):
        pairing.opened(2 * number + 1, {"streamtype": "data", "port": "1", "requestid": str(number)}, 0)
    with pytest.raises(portforward.BadStream):
        pairing.opened(9999, {"streamtype": "data", "port": "1", "requestid": "x"}, 0)


def test_a_token_is_good_once_and_for_a_minute() -> None:
    now = [0.0]
    tokens: StreamTokens[str] = StreamTokens(lambda: now[0])
    first, second = tokens.add("a"), tokens.add("b")
    assert len(first) == 8
    assert tokens.take(first) == "a"
    assert tokens.take(first) is None
    now[0] = 60.0
    assert tokens.take(second) is None
    assert len(tokens) == 0


def test_tokens_are_limited_until_old_ones_expire() -> None:
    now = [0.0]
    tokens: StreamTokens[int] = StreamTokens(lambda: now[0])
    for number in range(1000):
        tokens.add(number)
    with pytest.raises(Fault) as raised:
        tokens.add(1000)
    assert raised.value.kind is Kind.UNAVAILABLE
    now[0] = 61.0
    tokens.add(1001)
    assert len(tokens) == 1
