"""Settings of the link."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from cellwire.faults import Fault, Kind
from controller.model.setting import Group, Port

_AGENT = (
    "The agent's bundle for stock images on {}, packed by `make bundle`; cells fetch it from this port. Empty: none."
)


class LinkOptions(Group, frozen=True, kw_only=True):
    """The port that cells dial."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: Annotated[Port, Meta(description="TCP port to listen on; 0 takes any.")] = 7443
    addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="How cells reach this port, the first preferred: hosts, or host:port where they dial another. "
            "Empty: `link.host`, or the bridge."
        ),
    ] = ()
    agent_amd64: Annotated[Path | None, Meta(description=_AGENT.format("x86"))] = None
    agent_arm64: Annotated[Path | None, Meta(description=_AGENT.format("arm"))] = None

    @property
    def agents(self) -> dict[str, Path]:
        """The bundles that there are, by architecture."""
        named = {"amd64": self.agent_amd64, "arm64": self.agent_arm64}
        return {architecture: path for architecture, path in named.items() if path is not None}


def dialled(address: str, port: int) -> tuple[str, int]:
    """The host of one of `link.addresses`, and the port that cells dial there: `port` where it names none.

    Raises Fault INVALID.
    """
    host, colon, named = address.rpartition(":")
    alone = not colon or address.endswith("]") or (":" in host and not host.startswith("["))
    if alone:
        return address.strip("[]"), port
    if not (host and named.isascii() and named.isdigit() and 0 < int(named) < 65536):
        raise Fault(Kind.INVALID, "link.addresses", f"{address!r} is neither a host nor host:port")
    return host.strip("[]"), int(named)


def written(host: str, port: int) -> str:
    """Both as cells are told them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
