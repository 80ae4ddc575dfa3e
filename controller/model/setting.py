"""Setting: a field of a `Group`, with its type, limits, default, help and unit.

Each room describes its own in a `settings.py`; `controller.config` composes them and reads the file.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, extra={"unit": "seconds"})]


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one room."""
