"""Settings of the store."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class StoreKind(enum.StrEnum):
    """The stores that there are."""

    SQLITE = "sqlite"
    ETCD = "etcd"


class StoreOptions(Group, frozen=True, kw_only=True):
    """Settings of the store."""

    kind: Annotated[
        StoreKind,
        Meta(
            description='"sqlite", a file in the state folder; or "etcd", for several controllers, of which one leads.'
        ),
    ] = StoreKind.SQLITE
    endpoints: Annotated[tuple[str, ...], Meta(description="Members of etcd.")] = ("http://127.0.0.1:2379",)
    ca: Annotated[Path | None, Meta(description="Whose certificates of members are trusted. Unset: the system's.")] = (
        None
    )
    certificate: Annotated[Path | None, Meta(description="Our certificate for etcd, with its chain.")] = None
    key: Annotated[Path | None, Meta(description="The key of that certificate.")] = None
    lease: Annotated[
        float,
        Meta(
            ge=2,
            description="A leader that etcd has not heard of for so long leads no more.",
            extra={"unit": "seconds"},
        ),
    ] = 15.0
