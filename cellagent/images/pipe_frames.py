"""MessagePack frames on the pipes between the agent, its pull child and its unpacking processes.

`msgpack` finds where a value ends in a stream and bounds what is kept until then; `msgspec` types it. See
docs/decisions/0007.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgpack
import msgspec

LARGEST = 64 << 20
"""Bytes of one message: a manifest and a configuration, or the names that a layer removes."""

Message = TypeVar("Message")


class MessageFrames(Generic[Message]):
    """Whole messages of one type out of a stream that comes in pieces."""

    def __init__(self, kind: type[Message], *, largest: int = LARGEST) -> None:
        self._kind = kind
        self._unpacker = msgpack.Unpacker(max_buffer_size=largest, raw=False, strict_map_key=True)

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that end in `piece`. Raises msgspec.DecodeError for what is none, or is larger than allowed."""
        try:
            self._unpacker.feed(piece)
            for value in self._unpacker:
                yield msgspec.convert(value, self._kind)
        except msgspec.DecodeError:
            raise
        except (ValueError, msgpack.UnpackException) as error:
            raise msgspec.DecodeError(f"it is no MessagePack ({error or type(error).__name__})") from error


def encoded(message: msgspec.Struct) -> bytes:
    """One frame."""
    return msgspec.msgpack.encode(message)


def write(descriptor: int, message: msgspec.Struct) -> None:
    """One frame to a pipe. Blocking is right where a peer that does not read is to hold us."""
    view = memoryview(encoded(message))
    while view:
        view = view[os.write(descriptor, view) :]
