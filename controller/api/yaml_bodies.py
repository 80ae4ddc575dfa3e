"""Reads the YAML that users send, as Kubernetes does: by YAML 1.1, but for numbers of base 60, dates and tags. Pure.

A few bytes of YAML can stand for more than any memory holds, where a name stands for a part that is itself made of
names. So there are no aliases here; `kubectl` writes none. Nor is there more than one document: which one was meant?
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import yaml

from controller.api.twice import FieldPlace, Twice
from controller.objects.fields import bad_request

# The parser is slow: this much takes it about a second.
LONGEST = 256 << 10
_PLAIN = "plain"
_TAG = "tag:yaml.org,2002:"
_TYPES = {f"{_TAG}bool": bool, f"{_TAG}int": int, f"{_TAG}float": (int, float), f"{_TAG}null": type(None)}
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WHOLE = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_OCTAL = re.compile(r"^([-+]?0)(?=[0-7])")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 400
# As Go's JSON writes them: whole numbers below this one without an exponent.
_LARGEST_WHOLE = 1e21


class Loaded(NamedTuple):
    """What YAML says, and the paths of fields that an object has twice: of these the last one counts."""

    value: object
    duplicates: tuple[str, ...]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise bad_request("the body of the request has YAML aliases, which are not supported: write them out")
        return super().compose_node(parent, index)


# All that is neither quoted nor tagged: what it stands for is told below.
_Loader.add_implicit_resolver(_PLAIN, re.compile(""), None)


def load(data: bytes) -> Loaded:
    """What the YAML says, as JSON would say it. Blocks, for long texts long. Raises Fault where it cannot be read."""
    if len(data) > LONGEST:
        cause = f"the body of the request is too long for YAML ({len(data)} bytes; at most {LONGEST} are read)"
        raise bad_request(f"{cause}: send it as JSON")
    twice = Twice()
    try:
        node = _Loader(data).get_single_node()
        value = None if node is None else _value(node, None, twice)
        # Through JSON: what it cannot say is refused.
        return Loaded(msgspec.json.decode(msgspec.json.encode(value)), twice.paths)
    except (yaml.YAMLError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise bad_request(f"the body of the request cannot be read as YAML: {error}") from error


def _value(node: Any, within: FieldPlace | None, twice: Twice) -> object:
    match node:
        case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
            found: dict[str, object] = {}
            for key, member in node.value:
                name = _name(key)
                place = FieldPlace(within, name)
                if name in found:
                    twice.add(place)
                found[name] = _value(member, place, twice)
            return found
        case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
            return [_value(member, FieldPlace(within, index), twice) for index, member in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            raise _mistake(node, f"the tag {node.tag} is not supported")


def _name(key: Any) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise _mistake(key, "the name of a field is a text, not a list or an object")
    if key.tag == _PLAIN and key.value == "<<":
        raise _mistake(key, "merges (<<) are not supported: write the fields out")
    match _scalar(key):
        case None:
            raise _mistake(key, "the name of a field is null: quote it")
        case bool(said):
            return "true" if said else "false"
        case said:
            return str(said)


def _scalar(node: Any) -> str | int | float | bool | None:
    text: str = node.value
    if node.tag == f"{_TAG}str":
        return text
    if node.tag != _PLAIN and node.tag not in _TYPES:
        raise _mistake(node, f"the tag {node.tag} is not supported")
    said = _plain(text)
    if node.tag == _PLAIN or isinstance(said, _TYPES[node.tag]):
        return said
    raise _mistake(node, f"{text[:60]!r} is not of the type that its tag names, {node.tag}")


def _plain(text: str) -> str | int | float | bool | None:
    """What a text stands for that is not quoted. Raises ValueError for a number that JSON lacks."""
    if text in _WORDS:
        return _WORDS[text]
    if _NO_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is no number that JSON has: quote it, if it is a text")
    digits = text.replace("_", "") if text[0] in "0123456789+-" else text
    if len(digits) > _LONGEST_NUMBER:
        return text
    if _WHOLE.fullmatch(digits):
        whole = int(_OCTAL.sub(r"\1o", digits), 0)
        if -(2**63) <= whole < 2**64:
            return whole
    if not _FLOAT.fullmatch(digits) or abs(number := float(digits)) == float("inf"):
        return text
    return int(number) if number.is_integer() and abs(number) < _LARGEST_WHOLE else number


def _mistake(node: Any, why: str) -> ValueError:
    mark = node.start_mark
    return ValueError(f"{why} (line {mark.line + 1}, column {mark.column + 1})")
