"""Settings of the shim."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class Shim(Group, frozen=True, kw_only=True):
    """The container runtime for a kubelet on this machine."""

    socket: Annotated[Path | None, Meta(description="Unix socket on which CRI is served. Unset: no shim.")] = None
    pods_folder: Annotated[str, Meta(description="The kubelet's `pods` folder.")] = "/var/lib/kubelet/pods"
    streaming_host: Annotated[str, Meta(description="Address on which exec and port-forward are served.")] = "127.0.0.1"
