"""Each mount that a kubelet asks for is honoured on the cell or refused by name."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.shim.mount_translation import (
    Handling,
    Medium,
    PlannedMount,
    Served,
    SubPath,
    plan,
    refuse_devices,
    served_by,
)
from controller.shim.volume_copy import part_of, path_of
from hostkit import mountinfo

PODS = "/var/lib/kubelet/pods"


def planned(path: str) -> PlannedMount:
    mount = cri.Mount(host_path=path, container_path="/data")
    return plan(mount, pods_folder=PODS, uid="u1", container="web")


@pytest.mark.parametrize(
    ("path", "fate"),
    [
        (f"{PODS}/u1/etc-hosts", Handling.COPIED),
        (f"{PODS}/u1/containers/web/0a1b", Handling.RETURNED),
        (f"{PODS}/u1/volumes/kubernetes.io~configmap/settings", Handling.SYNCED),
        (f"{PODS}/u1/volumes/kubernetes.io~secret/keys", Handling.SYNCED),
        (f"{PODS}/u1/volumes/kubernetes.io~projected/kube-api-access-x", Handling.SYNCED),
        (f"{PODS}/u1/volumes/kubernetes.io~downward-api/about", Handling.SYNCED),
        (f"{PODS}/u1/volumes/kubernetes.io~empty-dir/cache", Handling.CELL_FOLDER),
        ("/var/log", Handling.AS_IS),
    ],
)
def test_a_mount_meets_the_fate_of_its_kind(path: str, fate: Handling) -> None:
    assert planned(path).fate is fate


def test_what_the_kubelet_prepared_lies_below_the_pods_own_folder_on_the_cell() -> None:
    assert planned(f"{PODS}/u1/etc-hosts").on_cell == "/var/lib/chinampa/pods/u1/etc-hosts"


NFS = mountinfo.parsed(
    f"90 80 0:50 /export/a {PODS}/u1/volumes/kubernetes.io~nfs/data rw - nfs4 fs-1.efs.test:/export/a "
    "rw,vers=4.1,rsize=1048576,hard,noresvport,proto=tcp,timeo=600,clientaddr=10.0.0.9,local_lock=none,addr=10.0.0.5"
)[0]


@pytest.mark.parametrize(
    ("path", "subpath", "on_cell", "part"),
    [
        (f"{PODS}/u1/volumes/kubernetes.io~nfs/data", None, "volumes/kubernetes.io~nfs/data", "."),
        (f"{PODS}/u1/volumes/kubernetes.io~csi/pv/mount", None, "volumes/kubernetes.io~csi/pv/mount", "."),
        (
            f"{PODS}/u1/volume-subpaths/data/web/0",
            SubPath(plugin="kubernetes.io~nfs", part="logs"),
            *("volumes/kubernetes.io~nfs/data", "logs"),
        ),
    ],
)
def test_a_folder_of_a_file_server_is_mounted_from_there_on_the_cell(
    path: str, subpath: SubPath | None, on_cell: str, part: str
) -> None:
    mount = cri.Mount(host_path=path, container_path="/data")
    served = served_by(NFS)
    assert served is not None
    assert (served.server, served.path) == ("fs-1.efs.test", "/export/a")
    assert served.options == ("vers=4.1", "rsize=1048576", "hard", "noresvport", "timeo=600")
    found = plan(mount, pods_folder=PODS, uid="u1", container="web", subpath=subpath, served=served)
    assert (found.fate, found.served, found.part) == (Handling.SERVED, served, part)
    assert found.on_cell == f"/var/lib/chinampa/pods/u1/{on_cell}"


def test_what_a_helper_on_the_worker_serves_cannot_follow_a_pod() -> None:
    assert served_by(NFS._replace(source="127.0.0.1:/")) is None
    assert served_by(NFS._replace(kind="ext4")) is None
    assert served_by(None) is None
    assert served_by(NFS._replace(source="[fd00::1]:/x")) == Served(
        server="fd00::1", path="/x", options=("vers=4.1", "rsize=1048576", "hard", "noresvport", "timeo=600")
    )


def test_a_host_path_is_the_cells_own_path() -> None:
    assert planned("/var/log").on_cell == "/var/log"


@pytest.mark.parametrize(
    "path",
    [
        f"{PODS}/u2/volumes/kubernetes.io~secret/keys",
        f"{PODS}/u2/containers/web/0a1b",
        f"{PODS}/u2/etc-hosts",
        f"{PODS}/u1/../u2/volumes/kubernetes.io~secret/keys",
        f"{PODS}/u1/volumes/kubernetes.io~secret/../../../u2/volumes/kubernetes.io~secret/keys",
        f"{PODS}/u1/containers/web/../../../u2/containers/web/0a1b",
        f"{PODS}/u1/containers/web/..",
        f"{PODS}/u1/volumes/../../../../../etc",
        f"{PODS}/u11/etc-hosts",
        f"{PODS}/u2",
        PODS,
    ],
)
def test_a_host_path_to_what_the_worker_keeps_of_another_pod_is_the_cells_own_path(path: str) -> None:
    found = planned(path)
    assert (found.fate, found.on_cell) == (Handling.AS_IS, path)


@pytest.mark.parametrize(
    "path", [f"{PODS}/u1/volumes/kubernetes.io~csi/disk/mount", f"{PODS}/u1/volume-subpaths/a/web/0", f"{PODS}/u1/odd"]
)
def test_a_volume_that_cannot_follow_is_refused_by_name(path: str) -> None:
    with pytest.raises(Fault) as refused:
        planned(path)
    assert refused.value.kind is Kind.UNSUPPORTED
    assert path in str(refused.value)
    assert "web" in str(refused.value)


def part(plugin: str, shown: str | None, medium: Medium | None = None) -> PlannedMount:
    mount = cri.Mount(host_path=f"{PODS}/u1/volume-subpaths/files/web/0", container_path="/data")
    subpath = SubPath(plugin=plugin, part=shown)
    return plan(mount, pods_folder=PODS, uid="u1", container="web", subpath=subpath, medium=medium)


def test_a_sub_path_of_what_the_kubelet_wrote_is_copied() -> None:
    found = part("kubernetes.io~configmap", "..1/key")
    assert found.fate is Handling.COPIED
    assert found.on_cell == "/var/lib/chinampa/pods/u1/volume-subpaths/files/web/0"


def test_a_sub_path_of_an_empty_dir_is_a_part_of_the_cells_folder() -> None:
    found = part("kubernetes.io~empty-dir", "a/b", Medium(kind="tmpfs", size=4096))
    assert (found.fate, found.part, found.memory) == (Handling.CELL_FOLDER, "a/b", 4096)
    assert found.on_cell == "/var/lib/chinampa/pods/u1/volumes/kubernetes.io~empty-dir/files"
    assert found.source == f"{PODS}/u1/volumes/kubernetes.io~empty-dir/files"


def test_a_sub_path_of_a_host_path_is_the_cells_own_path() -> None:
    found = part("", "/srv/data/part")
    assert (found.fate, found.on_cell) == (Handling.AS_IS, "/srv/data/part")


@pytest.mark.parametrize(
    ("plugin", "shown"), [("", None), ("kubernetes.io~csi", "x"), ("kubernetes.io~empty-dir", None)]
)
def test_a_sub_path_of_anything_else_is_refused(plugin: str, shown: str | None) -> None:
    with pytest.raises(Fault) as refused:
        part(plugin, shown)
    assert refused.value.kind is Kind.UNSUPPORTED


@pytest.mark.parametrize(("medium", "memory"), [(None, None), (Medium(kind="tmpfs"), 0)])
def test_an_empty_dir_is_of_what_the_kubelet_has_made_it(medium: Medium | None, memory: int | None) -> None:
    mount = cri.Mount(host_path=f"{PODS}/u1/volumes/kubernetes.io~empty-dir/cache", container_path="/data")
    assert plan(mount, pods_folder=PODS, uid="u1", container="web", medium=medium).memory == memory


def test_an_empty_dir_of_huge_pages_is_refused_by_name() -> None:
    mount = cri.Mount(host_path=f"{PODS}/u1/volumes/kubernetes.io~empty-dir/pages", container_path="/data")
    with pytest.raises(Fault, match=r"empty-dir/pages .* hugetlbfs"):
        plan(mount, pods_folder=PODS, uid="u1", container="web", medium=Medium(kind="hugetlbfs"))


def test_a_block_volume_is_refused_by_name() -> None:
    config = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="web"))
    config.devices.add(host_path=f"{PODS}/u1/volumeDevices/kubernetes.io~csi/disk", container_path="/dev/xvda")
    with pytest.raises(Fault, match=r"volumeDevices/kubernetes\.io~csi/disk"):
        refuse_devices(config, PODS, "u1")


MOUNTS = mountinfo.parsed(
    "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "21 20 8:2 / /disk rw - ext4 /dev/sdb rw\n"
    "22 20 8:2 /deep /elsewhere rw - ext4 /dev/sdb rw\n"
    "30 20 0:40 / /pods/u/volumes/secret/s rw shared:3 - tmpfs tmpfs rw,size=2048k\n"
    "31 20 0:40 /..1/key /pods/u/volume-subpaths/s/web/0 rw - tmpfs tmpfs rw\n"
    "32 20 8:1 /pods/u/volumes/empty/e/a\\040b /pods/u/volume-subpaths/e/web/0 rw - ext4 /dev/sda1 rw\n"
    "34 20 8:2 /deep/part /pods/u/volume-subpaths/h/web/0 rw - ext4 /dev/sdb rw\n"
    "35 20 8:1 /srv/part /pods/u/volume-subpaths/h/web/1 rw - ext4 /dev/sda1 rw\n"
    "36 20 8:1 /srv /pods/u/volume-subpaths/h/web/2 rw - ext4 /dev/sda1 rw\n"
    "37 20 0:50 / /pods/u/volume-subpaths/h/web/3 rw - tmpfs tmpfs rw\n"
)


def test_the_part_of_a_volume_is_read_from_mountinfo() -> None:
    assert part_of("/pods/u/volume-subpaths/s/web/0", "/pods/u/volumes/secret/s", MOUNTS) == "..1/key"
    assert part_of("/pods/u/volume-subpaths/e/web/0", "/pods/u/volumes/empty/e", MOUNTS) == "a b"
    assert part_of("/pods/u/volume-subpaths/s/web/0", "/pods/u/volumes/empty/e", MOUNTS) is None
    assert part_of("/not/mounted", "/pods/u/volumes/empty/e", MOUNTS) is None


def test_the_path_that_a_sub_path_of_a_host_path_shows_is_read_from_mountinfo() -> None:
    shown = {number: path_of(f"/pods/u/volume-subpaths/h/web/{number}", MOUNTS, "/pods") for number in range(5)}
    assert shown == {0: "/disk/deep/part", 1: "/srv/part", 2: "/srv", 3: None, 4: None}
