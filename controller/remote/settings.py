"""Settings of a worker whose shim is a process of its own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group, Port


class Remote(Group, frozen=True, kw_only=True):
    """`chinampa shim`: the shim of a worker as a process of its own, with a central controller elsewhere."""

    controllers: Annotated[
        tuple[str, ...], Meta(description="Links of the controllers, each host:port; all of them, of which one leads.")
    ] = ()
    fingerprint: Annotated[
        str, Meta(description="Of their authority, as `chinampa token worker` prints it; used once, to join.")
    ] = ""
    host: Annotated[str, Meta(description="Address on which this worker's cells are listened to.")] = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: Annotated[Port, Meta(description="TCP port for them; 0 takes any.")] = 7444
    addresses: Annotated[
        tuple[str, ...],
        Meta(description="How cells reach this worker, the first preferred. Empty: `remote.host`."),
    ] = ()
