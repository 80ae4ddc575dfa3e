"""Replies that are given again and again while nothing changes, written out once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message
from grpclib.encoding.proto import ProtoCodec

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True)
class Written(Generic[Reply]):
    """A reply that nobody changes any more, and its octets. Send it with `send_message` as the message itself."""

    message: Reply
    octets: bytes

    @classmethod
    def of(cls, message: Reply) -> Self:
        """Write it out."""
        return cls(message, message.SerializeToString())


class Codec(ProtoCodec):
    """grpclib's, which does not write again what is written."""

    def encode(self, message: Any, message_type: type[Any]) -> bytes:
        """The octets of a message, or of one that is written. Raises TypeError for one of another type."""
        if isinstance(message, Written):
            if isinstance(message.message, message_type):
                return message.octets
            message = message.message
        return super().encode(message, message_type)
