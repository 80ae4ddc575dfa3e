"""Which volumes of a sandbox are kept in sync with the worker's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.shim.syncing import VolumeSync

PODS = "/var/lib/kubelet/pods"


def test_a_volume_that_another_machine_serves_keeps_none_of_the_others_from_their_changes() -> None:
    kinds = ("kubernetes.io~nfs/data", "kubernetes.io~configmap/settings")
    mounts = [cri.Mount(host_path=f"{PODS}/u1/volumes/{kind}", container_path=f"/{kind}") for kind in kinds]
    record: Any = SimpleNamespace(status=cri.ContainerStatus(mounts=mounts).SerializeToString())
    memory: Any = SimpleNamespace(containers_of=lambda _: [record])
    unused: Any = None
    sandbox: Any = SimpleNamespace(id="s", uid="u1")
    assert list(VolumeSync(unused, memory, unused, PODS)._wanted(sandbox)) == [f"{PODS}/u1/volumes/{kinds[1]}"]
