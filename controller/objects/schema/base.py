"""What the types of the API are made of: parts with fields, and what the wire says of a field."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta


class ValueForm(enum.StrEnum):
    """The form of a value: an object of a type, a list or a map of items, or one of the plain values."""

    OBJECT = "object"
    LIST = "list"
    MAP = "map"
    TEXT = "text"
    WHOLE = "whole"
    NUMBER = "number"
    TRUTH = "truth"
    QUANTITY = "quantity"
    TIME = "time"
    INT_OR_STRING = "int-or-string"
    BYTES = "bytes"
    LOOSE = "loose"


Quantity = Annotated[str | int | float, Meta(extra={"form": ValueForm.QUANTITY})]
Time = Annotated[str, Meta(extra={"form": ValueForm.TIME})]
IntOrString = Annotated[int | str, Meta(extra={"form": ValueForm.INT_OR_STRING})]
Bytes = Annotated[str, Meta(extra={"form": ValueForm.BYTES})]
Loose = Annotated[Any, Meta(extra={"form": ValueForm.LOOSE})]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the API, or a part of one. Everything may be absent; what must be there is checked by name.

    What is absent has its zero value, as in the API's own types: an empty text, list or map, 0, False. It is None where
    zero counts (see `Wire`), and for most parts that are objects themselves.
    """


class Wire(msgspec.Struct, frozen=True):
    """Facts of a field on the wire, beside its type.

    `number` is its protobuf number, `within` that of the message that holds it where JSON has no such level. `keys`
    tell the members of a list apart; `merge` is the key by which a strategic patch does, where that is another one; `joins`
    says that such a patch adds to a list of texts. An `atomic` value has one owner as a whole; a list `is_set` has no
    member twice. `zero_counts` says that 0, false or "" is a value of its own; of other fields it is the same as none,
    as in the API's own types, where only a pointer tells the two apart.
    """

    number: int = 0
    within: int = 0
    keys: tuple[str, ...] = ()
    merge: str = ""
    joins: bool = False
    is_set: bool = False
    zero_counts: bool = False
    atomic: bool = False
    required: bool = False
