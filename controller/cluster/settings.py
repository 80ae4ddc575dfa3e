"""Settings of the cluster that this controller's kubelet is a node of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class Kubernetes(Group, frozen=True, kw_only=True):
    """The API server of the cluster whose kubelet uses the shim."""

    kubeconfig: Annotated[
        Path | None,
        Meta(description="The node's own kubeconfig. Unset: pods are sized by what CRI tells, no Services."),
    ] = None
    node: Annotated[str, Meta(description="Name of the node. Empty: that in the kubeconfig's certificate.")] = ""
