"""HEADERS frames that go a short way are what h2 itself sends and tells."""

from __future__ import annotations

from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.data_frames import DataConnection

Lines = list[tuple[str, str]]
CALLS: list[Lines] = [
    [(":method", "POST"), (":scheme", "http"), (":path", "/runtime.v1.RuntimeService/Version"), (":authority", "x")],
    [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "x"), ("content-length", "3")],
    [(":method", "HEAD"), (":scheme", "http"), (":path", "/a"), (":authority", "x")],
    [(":method", "POST"), (":scheme", "http"), (":path", "/é"), (":authority", "x")],
]
ANSWERS: list[list[Lines]] = [
    [[(":status", "200"), ("content-type", "application/grpc")], [("grpc-status", "0")]],
    [[(":status", "100")], [(":status", "200"), ("content-length", "3")], [("grpc-status", "0")]],
    [[(":status", "103"), ("content-length", "2")], [(":status", "200"), ("a", "b")], [("grpc-status", "0")]],
    [[(":status", "200"), ("grpc-status", "5")]],
]


class Pair:
    """A client and a server of h2's or of ours, and what passed between them."""

    def __init__(self, kind: type[H2Connection], encoding: str = "utf-8") -> None:
        settings: dict[str, Any] = {
            "header_encoding": encoding,
            "validate_inbound_headers": False,
            "validate_outbound_headers": False,
            "normalize_inbound_headers": False,
            "normalize_outbound_headers": False,
        }
        self.client = kind(H2Configuration(client_side=True, **settings))
        self.server = kind(H2Configuration(client_side=False, **settings))
        self.seen: list[Any] = []
        for each in (self.client, self.server):
            each.initiate_connection()
        self.pass_on()
        self.pass_on()

    def pass_on(self) -> None:
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            octets = sender.data_to_send()
            self.seen.append(octets)
            try:
                events = receiver.receive_data(octets)
            except (ProtocolError, ValueError) as error:
                self.seen.append(type(error))
            else:
                self.seen += map(told, events)

    def call(self, stream: int, request: Lines, answer: list[Lines], *, end: bool = True) -> None:
        self.client.send_headers(stream, request)
        self.client.send_data(stream, b"abc", end_stream=True)
        self.pass_on()
        for lines in answer[:-1]:
            self.server.send_headers(stream, lines)
        if len(answer) > 1:
            self.server.send_data(stream, b"xyz")
        self.server.send_headers(stream, answer[-1], end_stream=end)
        self.pass_on()


def told(event: Event) -> Any:
    """All that an event says, and those that it names."""
    return type(event), {
        name: told(value) if isinstance(value, Event) else value if isinstance(value, list | bytes) else repr(value)
        for name, value in sorted(vars(event).items())
    }


@given(st.lists(st.tuples(st.sampled_from(CALLS), st.sampled_from(ANSWERS), st.integers(1, 4)), max_size=12))
def test_what_is_sent_and_told_is_as_with_h2(calls: list[tuple[Lines, list[Lines], int]]) -> None:
    ours, theirs = Pair(DataConnection), Pair(H2Connection)
    stream = 1
    for request, answer, times in calls:
        for _ in range(times):
            for pair in (ours, theirs):
                try:
                    pair.call(stream, request, answer)
                except ProtocolError as error:
                    pair.seen.append(type(error))
            stream += 2
    assert ours.seen == theirs.seen


def test_trailers_that_do_not_end_their_call_are_refused_each_time() -> None:
    pair = Pair(DataConnection)
    for stream in (1, 3, 5, 7):
        pair.call(stream, CALLS[0], ANSWERS[0])
    with pytest.raises(ProtocolError):
        pair.call(9, CALLS[0], ANSWERS[0], end=False)


def test_no_more_calls_are_opened_or_taken_than_are_allowed() -> None:
    pair = Pair(DataConnection)
    pair.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    pair.pass_on()
    pair.pass_on()
    for stream in (1, 3, 5, 7):
        pair.call(stream, CALLS[0], ANSWERS[0])
    for stream in (9, 11):
        pair.client.send_headers(stream, CALLS[0])
    with pytest.raises(TooManyStreamsError):
        pair.client.send_headers(13, CALLS[0])
    pair.client.remote_settings.update({SettingCodes.MAX_CONCURRENT_STREAMS: 9})
    pair.client.remote_settings.acknowledge()
    pair.client.send_headers(13, CALLS[0])
    with pytest.raises(TooManyStreamsError):
        pair.server.receive_data(pair.client.data_to_send())


def test_text_that_is_none_is_told_as_such_however_often_it_comes() -> None:
    pair = Pair(DataConnection, "ascii")
    for stream in (1, 3, 5, 7):
        pair.client.send_headers(stream, CALLS[3], end_stream=True)
        with pytest.raises(UnicodeDecodeError):
            pair.server.receive_data(pair.client.data_to_send())
