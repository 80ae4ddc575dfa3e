"""What `kubectl explain` says of fields: our own words, from the file beside this one. Read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from controller.objects.schema.base import Part

_FILE = Path(__file__).with_suffix(".txt")


@cache
def _texts() -> dict[str, str]:
    lines = (line for line in _FILE.read_text().splitlines() if line and not line.startswith("#"))
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def of_field(kind: type[Part], name: str) -> str:
    """A sentence on a field of a type; "" where there is none."""
    return _texts().get(f"{kind.__name__}.{name}") or _texts().get(name, "")
