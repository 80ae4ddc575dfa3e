"""Which instance of a batch is which cell's. Pure but for one memory, which is a value's worth of dictionaries.

One launching call makes many instances with equal tags, so each carries the roster of the whole batch: the client
tokens that it was launched for. Instances are dealt to tokens in order of their ids, and what is dealt stays dealt: in
memory at once, in a tag of the instance's own soon after. So a controller that was killed before it heard the answer
finds every instance again under its token, in a list like any other.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.clouds.ec2.ec2_settings import TAG_ROSTER
from controller.model.names import InstanceId

# EC2: 50 tags a resource, 256 characters a value.
MOST_TAGS = 50
VALUE_LENGTH = 256
_UNPACKED_LIMIT = 1 << 20


def written(tokens: Sequence[str]) -> dict[str, str]:
    """The roster as tags: packed, cut into values."""
    text = base64.b64encode(zlib.compress("\n".join(tokens).encode(), 9)).decode()
    pieces = [text[at : at + VALUE_LENGTH] for at in range(0, len(text), VALUE_LENGTH)]
    return {f"{TAG_ROSTER}{number}": piece for number, piece in enumerate(pieces)}


def read(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The roster in an instance's tags; empty where there is none, or none that can be read."""
    pieces: list[str] = []
    while piece := tags.get(f"{TAG_ROSTER}{len(pieces)}"):
        pieces.append(piece)
    try:
        packed = base64.b64decode("".join(pieces), validate=True)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, _UNPACKED_LIMIT).decode()
    except (ValueError, zlib.error):
        return ()
    return tuple(text.split("\n")) if text and unpacker.eof else ()


def split(tokens: Sequence[str], room: int) -> list[tuple[str, ...]]:
    """The tokens in as few batches as have rosters of at most `room` tags each."""
    if len(tokens) <= 1 or len(written(tokens)) <= room:
        return [tuple(tokens)] if tokens else []
    half = len(tokens) // 2
    return split(tokens[:half], room) + split(tokens[half:], room)


@dataclass(slots=True)
class Deals:
    """Client token to instance and back."""

    _instances: dict[str, InstanceId] = field(default_factory=dict[str, InstanceId])
    _tokens: dict[InstanceId, str] = field(default_factory=dict[InstanceId, str])

    def deal(self, roster: Iterable[str], instances: Iterable[InstanceId]) -> tuple[tuple[str, InstanceId], ...]:
        """Give each instance of a batch that has no token one of the roster that has no instance; what is new."""
        free = [token for token in sorted(set(roster)) if token not in self._instances]
        fresh = sorted(one for one in set(instances) if one not in self._tokens)
        dealt = tuple(zip(free, fresh, strict=False))
        for token, instance in dealt:
            self.know(token, instance)
        return dealt

    def know(self, token: str, instance: InstanceId) -> None:
        """This instance says, or was told, that it is this token's. What was known before stands."""
        if token not in self._instances and instance not in self._tokens:
            self._instances[token] = instance
            self._tokens[instance] = token

    def instance_of(self, token: str) -> InstanceId | None:
        """The instance of a token."""
        return self._instances.get(token)

    def token_of(self, instance: InstanceId) -> str:
        """The token of an instance; empty if it has none."""
        return self._tokens.get(instance, "")

    def known(self) -> tuple[InstanceId, ...]:
        """All instances that have a token."""
        return tuple(self._tokens)

    def forget(self, instance: InstanceId) -> None:
        """The instance is long gone."""
        token = self._tokens.pop(instance, None)
        if token is not None:
            del self._instances[token]
