"""Settings of what every cloud writes into user-data."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class Registry(Group, frozen=True, kw_only=True):
    """How cells reach an image registry. A table each."""

    host: Annotated[str, Meta(description="Host and optional port, as in image references.")]
    mirrors: Annotated[tuple[str, ...], Meta(description="Base addresses, tried in order before the host.")] = ()
    plain_http: Annotated[bool, Meta(description="Whether plain http may be spoken with the host itself.")] = False

    @property
    def bases(self) -> tuple[str, ...]:
        """Where to ask for an image: at the mirrors, then at the host itself."""
        return (*self.mirrors, f"{'http' if self.plain_http else 'https'}://{self.host}")
