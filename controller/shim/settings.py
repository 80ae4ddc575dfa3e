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
    worker: Annotated[
        Path | None,
        Meta(
            description="Socket of this machine's own agent (`cellagent serve`), for pods of DaemonSets. Unset: none."
        ),
    ] = None
    worker_namespaces: Annotated[
        tuple[str, ...], Meta(description="Namespaces whose pods run on this machine, too.")
    ] = ()
    worker_labels: Annotated[
        tuple[str, ...], Meta(description='Labels ("key=value") whose pods run on this machine, too.')
    ] = ()
    worker_handler: Annotated[
        str, Meta(description="Handler of the RuntimeClass whose pods run on this machine, too.")
    ] = "worker"
    streaming_host: Annotated[str, Meta(description="Address on which exec and port-forward are served.")] = "127.0.0.1"
    image_patience: Annotated[
        float,
        Meta(
            ge=0,
            description="How long a cell is kept, and paid for, that only waits for an image that cannot be pulled; its"
            " pod gets the next one after a pause of as long, then of twice as long, up to a day. 0: for ever.",
            extra={"unit": "s"},
        ),
    ] = 3600.0
