"""Settings of the link."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group, Port


class Link(Group, frozen=True, kw_only=True):
    """The port that cells dial."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: Annotated[Port, Meta(description="TCP port to listen on; 0 takes any.")] = 7443
    addresses: Annotated[
        tuple[str, ...],
        Meta(description="How cells reach this port, the first preferred. Empty: `link.host`, or the bridge."),
    ] = ()
