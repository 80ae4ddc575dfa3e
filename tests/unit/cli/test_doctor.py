"""What the doctor makes of a machine's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cli import doctor
from controller.cli.doctor import overlay
from controller.model.finding import Finding, Verdict
from hostkit import cgroup_files

LOADED = "nodev\ttmpfs\n\text4\nnodev\toverlay\n"
DEPENDENCIES = "kernel/net/8021q/8021q.ko.xz: kernel/net/802/mrp.ko.xz\nkernel/fs/overlayfs/overlay.ko.xz:\n"


def test_overlayfs_is_there_when_it_is_loaded_and_when_the_kernel_will_load_it() -> None:
    assert overlay(LOADED, "").verdict is Verdict.OK
    assert overlay("\text4\n", DEPENDENCIES) == Finding(
        Verdict.OK, "overlayfs", "a module, which the first mount loads"
    )
    assert overlay("\text4\n", "kernel/fs/ext2/ext2.ko.xz:\n").verdict is Verdict.LACKS


ONE = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
HUGE = "cgroup /sys/fs/cgroup/hugetlb cgroup rw,hugetlb 0 0\n"
TWO = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
KNOWN = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t106\t1\nhugetlb\t0\t70\t1\n"


@pytest.mark.parametrize(
    ("mounts", "held", "known", "kept"),
    [
        (ONE + TWO, "hugetlb\n", KNOWN, "hugetlb"),
        # The list of a group that is not the top need not name what crun stumbles over.
        (ONE + TWO, "\n", KNOWN, "hugetlb"),
        (ONE + HUGE + TWO, "\n", KNOWN, ""),
        (ONE + TWO, "\n", KNOWN.replace("70\t1", "70\t0"), ""),
        (ONE + TWO, "\n", "", ""),
        (TWO, "cpu memory hugetlb\n", KNOWN, ""),
        (ONE, "", KNOWN, ""),
    ],
)
def test_huge_pages_that_version_1_does_not_hold_keep_crun_from_running(
    mounts: str, held: str, known: str, kept: str
) -> None:
    assert cgroup_files.beside_version_1(mounts, held, known) == kept


def test_a_crun_that_would_refuse_is_never_named_as_usable() -> None:
    assert doctor.oci_runtime("/bin/crun", "/bin/runc", "") == Finding(Verdict.OK, "OCI runtime", "/bin/crun")
    found = doctor.oci_runtime("/bin/crun", "/bin/runc", "hugetlb")
    assert found.verdict is Verdict.NOTE
    assert found.cause == "/bin/runc; crun refuses: version 2 holds hugetlb beside version 1"
    assert doctor.oci_runtime("/bin/crun", None, "hugetlb").verdict is Verdict.LACKS
    assert doctor.oci_runtime(None, "/bin/runc", "").cause == "/bin/runc; crun is not installed"


def test_a_disk_that_is_full_is_lacking_and_one_that_soon_is_is_told() -> None:
    state = Path("/var/lib/chinampa")
    assert doctor.room(state, 20_000) == Finding(Verdict.OK, "disk", "20000 MiB free for /var/lib/chinampa")
    assert doctor.room(state, 900).verdict is Verdict.NOTE
    full = doctor.room(state, 3)
    assert full.verdict is Verdict.LACKS
    assert full.mend == "make room on it"
    assert "changes are refused" in full.cause
