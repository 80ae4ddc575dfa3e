"""HTTP/2's DATA frames by a short way through h2: its states and windows decide as ever, the payload is copied once in
and not at all out. No I/O.

h2 copies a payload four times in each direction. A DATA frame says nothing by where it ends, so what comes of a long
one is handed on as a frame of its own, and a frame is never collected.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any, cast

from h2.config import H2Configuration
from h2.events import Event
from h2.exceptions import FrameTooLargeError, StreamClosedError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import DataFrame, Frame, RstStreamFrame
from typing_extensions import Buffer

from cellwire.rpc.carried import Octets
from cellwire.rpc.header_frames import HeaderConnection, plain_frame

HEAD = 9
DATA = 0
END_STREAM, PADDED = 1, 8
COLLECTED = 256 << 10
"""Bytes of the longest frame of another kind."""
TOGETHER = 16 << 10
"""Bytes of a frame's payload that are waited for: each part by itself would cost more than it holds."""


class Intake(FrameBuffer):
    """What has come and is no whole frame yet. Of what it is given it keeps nothing: it may be overwritten."""

    def __init__(self, *, server: bool) -> None:
        super().__init__(server)
        self._come = memoryview(b"")
        self._length = 0  # of the frame whose head has come, where that is not passed on in parts
        self._stream = 0
        self._left = 0  # payload still to come of the DATA frame that is passed on in parts
        self._last = False
        self._part = bytearray()
        self._data = bytearray()

    def add_data(self, data: Buffer) -> None:
        """Take what has come. What was given before has been taken out."""
        view = memoryview(data)
        before = self._preamble_len
        if before:
            super().add_data(view[:before])
        self._come = view[before:]

    def __next__(self) -> Frame:
        """The next frame, or part of a DATA frame."""
        while not self._left:
            wanted = HEAD + self._length if len(self._data) >= HEAD else HEAD
            part = self._come[: wanted - len(self._data)]
            self._come = self._come[len(part) :]
            self._data += part
            if len(self._data) < wanted:
                raise self._all_taken()
            if wanted > HEAD or not self._begun():
                self._length = 0
                return self._whole() or super().__next__()
        return self._payload()

    def within(self) -> bool:
        """Whether more is to come of the DATA frame that was handed on last."""
        return bool(self._left)

    def _all_taken(self) -> StopIteration:
        # A view of nothing keeps all that it is of.
        self._come = memoryview(b"")
        return StopIteration()

    def _begun(self) -> bool:
        """A frame's head is here: whether there is more of it to come."""
        length, kind, flags = int.from_bytes(self._data[:3]), self._data[3], self._data[4]
        stream = int.from_bytes(self._data[5:]) & 0x7FFFFFFF
        self._validate_frame_length(length)
        if kind == DATA and stream and length and not flags & PADDED and not self._headers_buffer:
            self._stream, self._left, self._last = stream, length, bool(flags & END_STREAM)
            self._data.clear()
        else:
            if length > COLLECTED:
                raise FrameTooLargeError(f"a frame of {length} bytes that is not of data")
            self._length = length
        return bool(length)

    def _whole(self) -> Frame | None:
        """The frame that has come, where it is a block of headers; None leaves it to h2."""
        if self._headers_buffer or len(self._data) == HEAD:
            return None
        frame = plain_frame(self._data, bytes(self._data[HEAD:]))
        if frame is not None:
            self._data.clear()
        return frame

    def _payload(self) -> DataFrame:
        part = self._come[: self._left]
        self._come = self._come[len(part) :]
        self._left -= len(part)
        if self._part or (self._left and len(part) < TOGETHER):
            self._part += part
            if self._left and len(self._part) < TOGETHER:
                raise self._all_taken()
            data = bytes(self._part)
            self._part.clear()
        else:
            data = bytes(part)
        frame = DataFrame(self._stream, data)
        frame.body_len = len(data)
        if self._last and not self._left:
            frame.flags.add("END_STREAM")
        return frame


class DataConnection(HeaderConnection):
    """h2's connection, which takes Octets as data to send, and gives what is to be sent in parts."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self._intake = self.incoming_buffer = Intake(server=not config.client_side)
        self._parts: list[bytes | memoryview] = []

    def _handle_data_on_closed_stream(
        self, events: list[Event], exc: StreamClosedError, frame: DataFrame
    ) -> tuple[list[Frame], list[Event]]:
        """As h2's, with one RST_STREAM for a frame, however many its parts are."""
        answers, events = super()._handle_data_on_closed_stream(events, exc, frame)
        if self._intake.within():
            answers = [answer for answer in answers if not isinstance(answer, RstStreamFrame)]
        return answers, events

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        for frame in frames:
            if not isinstance(frame, DataFrame) or "PADDED" in frame.flags:
                super()._prepare_for_sending([frame])
                continue
            data = cast("Any", frame.data)
            flags = END_STREAM if "END_STREAM" in frame.flags else 0
            head = len(data).to_bytes(3) + bytes((DATA, flags)) + frame.stream_id.to_bytes(4)
            if not isinstance(data, Octets):
                self._data_to_send.extend(head + data)
                continue
            first, *others = data.parts
            if len(first) < TOGETHER:
                head, first = head + first, b""
            self._parts += (super().data_to_send(), head, first, *others)

    def data_to_send(self, amount: int | None = None) -> bytes:
        """All that is to be sent, in one piece."""
        del amount
        return b"".join(self.parts_to_send()) if self._parts else super().data_to_send()

    def parts_to_send(self) -> list[bytes | memoryview]:
        """All that is to be sent."""
        parts = [part for part in (*self._parts, super().data_to_send()) if part]
        self._parts.clear()
        return parts
