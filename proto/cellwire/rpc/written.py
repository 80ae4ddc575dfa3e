"""Replies that are given again and again while nothing changes, written out once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast

from google.protobuf.message import Message
from grpclib.encoding.proto import ProtoCodec

from cellwire.rpc.carried import Carried, Octets, read, written

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
        if isinstance(message, Carried):
            if message.kind is not message_type:
                raise TypeError(f"a {message.kind.__name__} was given in place of a {message_type.__name__}")
            return cast("bytes", written(message))
        if isinstance(message, Written):
            if isinstance(message.message, message_type):
                return message.octets
            message = message.message
        return super().encode(message, message_type)

    def decode(self, data: Any, message_type: type[Any]) -> Any:
        """The message of these octets; Carried where its receiver knows that. Raises as protobuf does."""
        if not isinstance(data, Octets):
            return super().decode(data, message_type)
        return read(data, message_type) or super().decode(data.joined(), message_type)
