"""HTTP/2's HEADERS frames by a short way through h2: its states decide as ever. No I/O.

h2 encodes, looks through, decodes and lists the headers of each block anew. A block that is recalled (`header_blocks`)
says what an earlier one said, which h2 has looked at, so that only its stream's state is left to be asked.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.events import Event, TrailersReceived
from h2.exceptions import ProtocolError, TooManyStreamsError
from h2.stream import H2Stream, StreamInputs
from hyperframe.frame import Frame, HeadersFrame

from cellwire.rpc.header_blocks import RecallingDecoder, RecallingEncoder

HEADERS = 1
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 0x20


def plain_frame(head: bytes | bytearray, block: bytes) -> HeadersFrame | None:
    """The frame of this head that holds a whole block of headers and nothing else; None where it is another."""
    flags, stream = head[4], int.from_bytes(head[5:9]) & 0x7FFFFFFF
    if head[3] != HEADERS or not stream or flags & (END_HEADERS | PADDED | PRIORITY) != END_HEADERS:
        return None
    frame = HeadersFrame(stream)
    frame.data, frame.body_len = block, len(block)
    frame.flags.add("END_HEADERS")
    if flags & END_STREAM:
        frame.flags.add("END_STREAM")
    return frame


class HeaderConnection(H2Connection):
    """h2's connection, which asks of a block of headers that it recalls no more than whether it may come now."""

    encoder: RecallingEncoder
    decoder: RecallingDecoder

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = RecallingEncoder()
        self.decoder = RecallingDecoder(self.decoder.max_header_list_size)

    def send_headers(
        self,
        stream_id: int,
        headers: Iterable[Any],
        end_stream: bool = False,  # noqa: FBT001, FBT002  h2's
        *priority: Any,
        **priorities: Any,
    ) -> None:
        """As h2's."""
        given = tuple(headers)
        block = None if priority or priorities else self.encoder.recalled(given)
        if block is None:
            super().send_headers(stream_id, given, end_stream, *priority, **priorities)
            self.encoder.recall_as(given)
            return
        if stream_id not in self.streams:
            self._require_room(self.open_outbound_streams, self.remote_settings.max_concurrent_streams)
        self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        machine = self._stream(stream_id, ours=True).state_machine
        machine.process_input(StreamInputs.SEND_HEADERS)
        if end_stream:
            machine.process_input(StreamInputs.SEND_END_STREAM)
        elif machine.trailers_sent:
            raise ProtocolError("Trailers must have END_STREAM set.")
        flags = END_HEADERS | (END_STREAM if end_stream else 0)
        self._data_to_send.extend(len(block).to_bytes(3) + bytes((HEADERS, flags)) + stream_id.to_bytes(4) + block)

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        """As h2's."""
        encoding = self.config.header_encoding
        headers = self.decoder.recalled(frame.data, encoding) if isinstance(encoding, str) else None
        if headers is None or "PRIORITY" in frame.flags:
            return super()._receive_headers_frame(frame)
        if frame.stream_id not in self.streams:
            self._require_room(self.open_inbound_streams, self.local_settings.max_concurrent_streams)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = self._stream(frame.stream_id, ours=False)
        machine = stream.state_machine
        events: list[Any] = machine.process_input(StreamInputs.RECV_HEADERS)
        told = events[0]
        if "END_STREAM" in frame.flags:
            ended = machine.process_input(StreamInputs.RECV_END_STREAM)
            vars(told)["stream_ended"] = ended[0]
            events += ended
        elif isinstance(told, TrailersReceived):
            raise ProtocolError("Trailers must have END_STREAM set")
        stream._initialize_content_length(())  # noqa: SLF001  as h2 does: none of these headers tells of one
        told.headers = headers
        return [], events

    def _require_room(self, opened: int, most: int) -> None:
        if opened + 1 > most:
            raise TooManyStreamsError(f"Max streams is {most}, {opened} open")

    def _stream(self, stream_id: int, *, ours: bool) -> H2Stream:
        """The stream, made where it is new; of ours a client has those of odd numbers."""
        return self._get_or_create_stream(stream_id, AllowedStreamIDs(self.config.client_side is ours))
