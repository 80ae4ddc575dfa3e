"""Each mount that a kubelet asks for is honoured on the cell or refused by name."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.shim.mounts import Fate, PlannedMount, plan

PODS = "/var/lib/kubelet/pods"


def planned(path: str) -> PlannedMount:
    mount = cri.Mount(host_path=path, container_path="/data")
    return plan(mount, pods_folder=PODS, uid="u1", container="web")


@pytest.mark.parametrize(
    ("path", "fate"),
    [
        (f"{PODS}/u1/etc-hosts", Fate.COPIED),
        (f"{PODS}/u1/containers/web/0a1b", Fate.RETURNED),
        (f"{PODS}/u1/volumes/kubernetes.io~configmap/settings", Fate.COPIED),
        (f"{PODS}/u1/volumes/kubernetes.io~secret/keys", Fate.COPIED),
        (f"{PODS}/u1/volumes/kubernetes.io~projected/kube-api-access-x", Fate.COPIED),
        (f"{PODS}/u1/volumes/kubernetes.io~downward-api/about", Fate.COPIED),
        (f"{PODS}/u1/volumes/kubernetes.io~empty-dir/cache", Fate.CELL_FOLDER),
        ("/var/log", Fate.AS_IS),
    ],
)
def test_a_mount_meets_the_fate_of_its_kind(path: str, fate: Fate) -> None:
    assert planned(path).fate is fate


def test_what_the_kubelet_prepared_lies_below_the_pods_own_folder_on_the_cell() -> None:
    assert planned(f"{PODS}/u1/etc-hosts").on_cell == "/var/lib/chinampa/pods/u1/etc-hosts"


def test_a_host_path_is_the_cells_own_path() -> None:
    assert planned("/var/log").on_cell == "/var/log"


@pytest.mark.parametrize(
    "path", [f"{PODS}/u1/volumes/kubernetes.io~csi/disk/mount", f"{PODS}/u1/volume-subpaths/a/web/0", f"{PODS}/u1/odd"]
)
def test_a_volume_that_cannot_follow_is_refused_by_name(path: str) -> None:
    with pytest.raises(Fault) as refused:
        planned(path)
    assert refused.value.kind is Kind.UNSUPPORTED
    assert path in str(refused.value)
    assert "web" in str(refused.value)
