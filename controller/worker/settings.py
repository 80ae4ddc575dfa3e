"""Settings of the worker: what its kubelet says of the node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class WorkerOptions(Group, frozen=True, kw_only=True):
    """The kubelet of this machine, as `chinampa worker init` sets it up."""

    cpu: Annotated[
        int, Meta(ge=1, le=4096, description="CPUs that the node offers: cells have them, not this machine.")
    ] = 1000
    memory_gib: Annotated[
        int, Meta(ge=1, le=1 << 20, description="Memory that the node offers.", extra={"unit": "GiB"})
    ] = 4000
    pods: Annotated[int, Meta(ge=1, le=5000, description="Pods that the node takes.")] = 500
    kubelet: Annotated[Path, Meta(description="The kubelet's program.")] = Path("/usr/bin/kubelet")
    root: Annotated[Path, Meta(description="The kubelet's folder; `shim.pods_folder` is `pods` in it.")] = Path(
        "/var/lib/kubelet"
    )
    bootstrap: Annotated[
        Path | None,
        Meta(description="A kubeconfig by which a kubelet without its own asks for one. Unset: it has its own."),
    ] = None
    base: Annotated[
        Path | None,
        Meta(description="A kubelet configuration to begin with (its authentication, say); what must differ wins."),
    ] = None
    client_ca: Annotated[
        Path, Meta(description="Authority of those who may ask the kubelet, where `worker.base` says nothing of it.")
    ] = Path("/etc/kubernetes/pki/ca.crt")
    address: Annotated[str, Meta(description="Address of the node. Empty: the kubelet finds it.")] = ""
    dns: Annotated[tuple[str, ...], Meta(description="Addresses of the cluster's DNS.")] = ("10.96.0.10",)
    labels: Annotated[
        tuple[str, ...],
        Meta(description='More labels of the node ("key=value"); they win over those that it has anyway.'),
    ] = ()
    taints: Annotated[tuple[str, ...], Meta(description='Taints of the node ("key=value:Effect").')] = ()
    eks: Annotated[
        bool,
        Meta(
            description="The node says that it is as nodeless as Fargate: EKS' load balancers and DaemonSets heed that."
        ),
    ] = False
