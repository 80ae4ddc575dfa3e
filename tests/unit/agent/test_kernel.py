"""What the kernel room decides without touching the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellagent.kernel import cgroup_limits, cgroups, mounts, oci, sysctls
from cellagent.kernel.cgroup_limits import UNLIMITED, CgroupLimits
from cellwire.faults import Fault
from hostkit import programs


def test_an_overlay_escapes_what_its_options_give_meaning_to() -> None:
    plan = mounts.overlay_mount(["/a:b", "/c,d"], Path("/u"), Path("/w"), Path("/t"))
    assert plan.options == "lowerdir=/a\\:b:/c\\,d,upperdir=/u,workdir=/w,index=off,redirect_dir=off"


def test_groups_go_beside_an_instance_and_else_below_the_root() -> None:
    assert cgroups.parent_of("0::/cells/c-1/init\n", "/chinampa") == "/cells/c-1/pods"
    assert cgroups.parent_of("9:name=systemd:/x\n4:cpu,memory:/cells/c/init\n0::/\n", "/chinampa") == "/cells/c/pods"
    assert cgroups.parent_of("0::/system.slice/agent.service\n", "chinampa") == "/chinampa"


def test_version_one_raises_swap_before_memory_and_lowers_it_after() -> None:
    wanted = CgroupLimits(memory_bytes=200, memory_swap_bytes=200)
    memory, swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    assert list(cgroup_limits.files(wanted, 1, current_memory=100)) == [swap, memory]
    assert list(cgroup_limits.files(wanted, 1, current_memory=300)) == [memory, swap]
    assert list(cgroup_limits.files(wanted, 1)) == [memory, swap]


def test_version_two_counts_swap_apart_and_weighs_shares() -> None:
    found = cgroup_limits.files(
        CgroupLimits(memory_bytes=100, memory_swap_bytes=150, cpu_shares=1024, cpu_quota_us=50000), 2
    )
    assert found == {"memory.max": "100", "memory.swap.max": "50", "cpu.weight": "39", "cpu.max": "50000 100000"}
    assert cgroup_limits.files(CgroupLimits(memory_bytes=UNLIMITED, pids=UNLIMITED), 2) == {
        "memory.max": "max",
        "pids.max": "max",
    }


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (262144, 10000), (0, 1), (1 << 40, 10000)])
def test_weights_stay_in_their_range(shares: int, weight: int) -> None:
    assert cgroup_limits.weight(shares) == weight


def test_crun_is_taken_where_it_works_and_the_reason_is_told_where_not() -> None:
    both = frozenset({"crun", "runc"})
    assert oci.choose(both, {}, "")[0] == "crun"
    assert oci.choose(both, {}, "hugetlb") == (
        "runc",
        "crun refuses a version 2 hierarchy that holds hugetlb beside version 1",
    )
    assert oci.choose(frozenset({"runc"}), {"crun": "crun is not installed"}, "") == ("runc", "crun is not installed")
    with pytest.raises(Fault, match=r"hugetlb.*runc is not installed"):
        oci.choose(frozenset({"crun"}), {"runc": "runc is not installed"}, "hugetlb")
    assert oci.choose(both, {}, "", "runc")[0] == "runc"
    assert oci.choose(both, {}, "", "crun")[0] == "crun"
    with pytest.raises(Fault, match="OCI runtime crun: it refuses a version 2 hierarchy that holds hugetlb"):
        oci.choose(both, {}, "hugetlb", "crun")
    with pytest.raises(Fault, match="OCI runtime runc: runc is not installed"):
        oci.choose(frozenset({"crun"}), {"runc": "runc is not installed"}, "", "runc")
    with pytest.raises(Fault, match="OCI runtime kata: it is not known here; choose crun or runc"):
        oci.choose(both, {}, "", "kata")


def test_a_failed_program_can_be_run_again_from_its_message() -> None:
    assert programs.replay(["ip", "-batch", "-"], b"link del 'x'\n").startswith("printf %s ")
    assert programs.replay(["ip", "a b"]) == "ip 'a b'"
    assert len(programs.replay(["x" * 5000])) < 1100


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_settings_are_found_in_either_spelling(name: str, file: str) -> None:
    assert sysctls.path(name) == Path("/proc/sys", file)


@pytest.mark.parametrize(
    "name", ["kernel.panic", "kernel/shm_evil", "vm.swappiness", "net/../vm/x", "", "/etc/passwd", "net.a\0"]
)
def test_settings_of_the_machine_are_refused(name: str) -> None:
    with pytest.raises(Fault, match="sysctl"):
        sysctls.refuse_foreign([name], {"net", "ipc"})


def test_settings_of_a_namespace_that_the_pod_shares_are_refused() -> None:
    sysctls.refuse_foreign(["net.core.somaxconn", "kernel.shm_rmid_forced", "fs.mqueue.msg_max"], {"net", "ipc"})
    with pytest.raises(Fault, match="no net namespace"):
        sysctls.refuse_foreign(["net.core.somaxconn"], {"ipc"})
