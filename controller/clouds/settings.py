"""Settings of what every cloud writes into user-data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class Proxy(Group, frozen=True, kw_only=True):
    """HTTP proxies on the way to registries, for cells and for the controller's own questions there."""

    http: Annotated[str, Meta(description="Address of the proxy for http. Empty: none.")] = ""
    https: Annotated[str, Meta(description="Address of the proxy for https. Empty: none.")] = ""
    no_proxy: Annotated[
        tuple[str, ...],
        Meta(description='What is reached without: domains, addresses, networks in CIDR form or "*".'),
    ] = ()


class Registry(Group, frozen=True, kw_only=True):
    """How cells reach an image registry. A table each."""

    host: Annotated[str, Meta(description="Host and optional port, as in image references.")]
    mirrors: Annotated[tuple[str, ...], Meta(description="Base addresses, tried in order before the host.")] = ()
    mirror_logins: Annotated[
        bool, Meta(description="Whether the mirrors, too, are shown what pods log in with to this host.")
    ] = False
    plain_http: Annotated[bool, Meta(description="Whether plain http may be spoken with the host itself.")] = False
    ca: Annotated[
        Path | None, Meta(description="File of the authorities (PEM) that are trusted there beside the machine's own.")
    ] = None
    certificate: Annotated[Path | None, Meta(description="File of a certificate (PEM) to show there.")] = None
    key: Annotated[
        Path | None,
        Meta(description="File of that certificate's key (PEM). Cells get it: who is root on one may read it."),
    ] = None

    @property
    def bases(self) -> tuple[str, ...]:
        """Where to ask for an image: at the mirrors, then at the host itself."""
        there = "registry-1.docker.io" if self.host == "docker.io" else self.host
        return (*self.mirrors, f"{'http' if self.plain_http else 'https'}://{there}")
