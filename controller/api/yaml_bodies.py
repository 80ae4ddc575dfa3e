"""Reads the YAML that users send. Pure.

A few bytes of YAML can stand for more than any memory holds, where a name stands for a part that is itself made of
names. So there are no aliases here; `kubectl` writes none.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from controller.objects.fields import bad_request

# The parser is slow: this much takes it about a second.
LONGEST = 256 << 10
# The parser raises any of these for values that do not fit their tags.
_MISTAKES = (RecursionError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise bad_request("the body of the request has YAML aliases, which are not supported: write them out")
        return super().compose_node(parent, index)


def load(data: bytes) -> object:
    """What the YAML says, as JSON would say it. Blocks, for long texts long. Raises Fault where it cannot be read."""
    if len(data) > LONGEST:
        raise bad_request(
            f"the body of the request is no JSON, and too long for YAML, of which at most {LONGEST} bytes are read"
        )
    try:
        # Through JSON: dates become texts, and what JSON cannot say is refused.
        return msgspec.json.decode(msgspec.json.encode(yaml.load(data, _Loader)))  # noqa: S506, a SafeLoader
    except (yaml.YAMLError, msgspec.MsgspecError, *_MISTAKES) as error:
        raise bad_request(f"the body of the request cannot be read as YAML: {error}") from error
