"""What a container's spec says of what CRI asked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellagent.images.image_source import ImageConfig
from cellagent.kernel import apparmor
from cellagent.runtime import declared_volumes
from cellagent.runtime.spec import capabilities, confinement
from cellagent.runtime.spec.container_process import MOST_VARIABLES
from cellagent.runtime.spec.generator import SpecInputs, limits, oci_spec
from cellagent.runtime.spec.users import User
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault

SHARED = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n"
PRIVATE = "1 0 8:1 / / rw - ext4 /dev/sda rw\n"


def inputs(config: cri.ContainerConfig | None = None, **changes: Any) -> SpecInputs:
    config = config or cri.ContainerConfig()
    config.metadata.name = "web"
    if not config.linux.security_context.HasField("namespace_options"):
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
    given = SpecInputs(
        container=config,
        sandbox=cri.PodSandboxConfig(),
        image=ImageConfig(entrypoint=("/entry",), cmd=("serve",), env=("A=image", "PATH=/image"), working_dir="/srv"),
        rootfs=Path("/r"),
        namespaces={"net": Path("/ns/net"), "ipc": Path("/ns/ipc"), "uts": Path("/ns/uts")},
        cgroup="/pods/c",
        user=User(uid=1000, gid=1000, groups=(20,), home="/home/me"),
        hostname="pod",
        files={"/etc/hosts": Path("/s/hosts")},
        shm=Path("/s/shm"),
        host_capabilities=frozenset(capabilities.ALL),
        controllers=frozenset({"memory", "cpu"}),
        cpu_bound=math.inf,
        machine="x86_64",
    )
    return msgspec.structs.replace(given, **changes)


def config_of(text: str = "", **context: Any) -> cri.ContainerConfig:
    security = cri.LinuxContainerSecurityContext(**context)
    return cri.ContainerConfig(working_dir=text, linux=cri.LinuxContainerConfig(security_context=security))


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ([], [], ["/entry", "serve"]),
        ([], ["other"], ["/entry", "other"]),
        (["/bin/sh"], [], ["/bin/sh"]),
        (["/bin/sh"], ["-c"], ["/bin/sh", "-c"]),
    ],
)
def test_command_replaces_the_entrypoint_and_args_the_cmd(
    command: list[str], args: list[str], expected: list[str]
) -> None:
    assert oci_spec(inputs(cri.ContainerConfig(command=command, args=args)))["process"]["args"] == expected


def test_a_container_that_says_nothing_to_run_is_refused() -> None:
    with pytest.raises(Fault, match="says what to run"):
        oci_spec(inputs(image=ImageConfig()))


def test_a_variable_of_the_image_without_a_name_is_passed_over_and_one_without_a_value_is_not_set() -> None:
    image = ImageConfig(cmd=("/serve",), env=("=nameless", "A=b=c", "B=1", "B", "=", ""))
    variables = oci_spec(inputs(image=image))["process"]["env"]
    assert "A=b=c" in variables
    assert not [one for one in variables if one.startswith(("=", "B")) or not one]


def test_more_variables_than_an_oci_runtime_sets_in_a_second_are_refused_in_a_sentence() -> None:
    config = config_of("web")
    config.command.append("x")
    few = ImageConfig(env=tuple(f"V{number}=x" for number in range(MOST_VARIABLES - 3)))
    assert len(oci_spec(inputs(config, image=few))["process"]["env"]) == MOST_VARIABLES
    with pytest.raises(Fault, match=f"set {MOST_VARIABLES + 1} variables"):
        oci_spec(inputs(config, image=ImageConfig(env=(*few.env, "ONE=more"))))


def test_more_volumes_of_an_image_than_a_pod_can_need_are_refused_and_none_is_made(tmp_path: Path) -> None:
    wanted = [f"/data/{number}" for number in range(declared_volumes.MOST + 1)]
    with pytest.raises(Fault, match="declares 1001 volumes"):
        declared_volumes.lay_out(tmp_path, tmp_path, wanted, owner=0)
    assert not list(tmp_path.iterdir())


def test_variables_of_the_container_win_over_those_of_the_image() -> None:
    config = cri.ContainerConfig(envs=[cri.KeyValue(key="A", value="pöd".encode())], tty=True)
    variables = oci_spec(inputs(config))["process"]["env"]
    assert {"A=pöd", "PATH=/image", "HOSTNAME=pod", "HOME=/home/me", "TERM=xterm"} == set(variables)


def test_groups_are_merged_with_those_of_the_image_unless_strict() -> None:
    merged = config_of(supplemental_groups=[7], supplemental_groups_policy=cri.Merge)
    strict = config_of(supplemental_groups=[7], supplemental_groups_policy=cri.Strict)
    assert oci_spec(inputs(merged))["process"]["user"]["additionalGids"] == [7, 20, 1000]
    assert oci_spec(inputs(strict))["process"]["user"]["additionalGids"] == [7, 1000]


def test_a_score_below_what_this_machine_may_give_is_raised() -> None:
    config = cri.ContainerConfig()
    config.linux.resources.oom_score_adj = -997
    assert oci_spec(inputs(config, lowest_oom_score=0))["process"]["oomScoreAdj"] == 0
    assert oci_spec(inputs(config))["process"]["oomScoreAdj"] == -997


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        ([], [], "CHOWN", "SYS_ADMIN"),
        (["SYS_ADMIN"], [], "SYS_ADMIN", "SYS_TIME"),
        (["CAP_SYS_ADMIN"], [], "SYS_ADMIN", "SYS_TIME"),
        (["ALL"], ["CHOWN"], "SYS_TIME", "CHOWN"),
        (["CHOWN"], ["ALL"], "CHOWN", "KILL"),
        (["CHOWN"], ["CHOWN"], "KILL", "CHOWN"),
        (["ALL"], ["ALL"], "", "CHOWN"),
    ],
)
def test_capabilities_are_added_and_dropped(add: list[str], drop: list[str], has: str, lacks: str) -> None:
    context = cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(add_capabilities=add, drop_capabilities=drop)
    )
    bounding = capabilities.capabilities(context, root=True)["bounding"]
    assert (not has) or f"CAP_{has}" in bounding
    assert f"CAP_{lacks}" not in bounding


def test_all_means_what_the_machine_can_give_and_one_beyond_is_refused() -> None:
    some = frozenset(capabilities.ALL) - {"SYS_RESOURCE"}
    privileged = cri.LinuxContainerSecurityContext(privileged=True)
    assert "CAP_SYS_RESOURCE" not in capabilities.capabilities(privileged, root=True, present=some)["bounding"]
    wants = cri.LinuxContainerSecurityContext(capabilities=cri.Capability(add_capabilities=["SYS_RESOURCE"]))
    with pytest.raises(Fault, match="SYS_RESOURCE"):
        capabilities.capabilities(wants, root=True, present=some)


def test_ambient_capabilities_reach_a_user_that_is_not_root() -> None:
    asked = cri.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])
    sets = capabilities.capabilities(cri.LinuxContainerSecurityContext(capabilities=asked), root=False)
    assert sets["ambient"] == sets["inheritable"] == sets["effective"] == ["CAP_NET_BIND_SERVICE"]


def test_a_status_file_tells_what_a_process_can_give() -> None:
    assert capabilities.of_status("Name:\tx\nCapBnd:\t000001fffeffffff\n") == frozenset(capabilities.ALL) - {
        "SYS_RESOURCE"
    }


def test_privileged_lifts_masks_filters_and_device_rules() -> None:
    spec = oci_spec(inputs(config_of(privileged=True)))
    assert "seccomp" not in spec["linux"]
    assert "maskedPaths" not in spec["linux"]
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "rw" in next(mount for mount in spec["mounts"] if mount["destination"] == "/sys")["options"]


def test_system_calls_are_filtered_only_where_asked() -> None:
    usual = cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    off = cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
    local = cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref="p.json")
    assert oci_spec(inputs(config_of(seccomp=usual)))["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "seccomp" not in oci_spec(inputs(config_of(seccomp=off)))["linux"]
    assert "seccomp" not in oci_spec(inputs(config_of()))["linux"]
    given = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert oci_spec(inputs(config_of(seccomp=local), seccomp=given))["linux"]["seccomp"] == given
    with pytest.raises(Fault, match=r"p\.json"):
        oci_spec(inputs(config_of(seccomp=local)))


def test_the_usual_filter_follows_capabilities_and_machine() -> None:
    def names(held: frozenset[str], machine: str) -> set[str]:
        calls = confinement.usual_calls(held, machine)["syscalls"]
        return {name for call in calls if call["action"] == "SCMP_ACT_ALLOW" for name in call["names"]}

    assert "mount" not in names(frozenset(), "x86_64")
    assert "mount" in names(frozenset({"CAP_SYS_ADMIN"}), "x86_64")
    assert "arch_prctl" in names(frozenset(), "x86_64")
    assert "arch_prctl" not in names(frozenset(), "arm64")
    for never in ("kexec_load", "io_uring_setup", "keyctl", "userfaultfd", "add_key"):
        assert never not in names(frozenset(f"CAP_{name}" for name in capabilities.ALL), "x86_64")


def test_selinux_options_say_nothing_where_selinux_is_off_and_are_refused_by_name_where_it_is_on() -> None:
    options = cri.SELinuxOption(type="spc_t", level="s0")
    assert oci_spec(inputs(config_of(selinux_options=options))) == oci_spec(inputs(config_of()))
    with pytest.raises(Fault, match="SELinux options type=spc_t level=s0: this machine runs SELinux"):
        oci_spec(inputs(config_of(selinux_options=options), selinux=True))
    assert oci_spec(inputs(config_of(), selinux=True)) == oci_spec(inputs(config_of()))


def test_apparmor_profiles_are_refused_by_name_where_absent() -> None:
    profile = cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref="mine")
    with pytest.raises(Fault, match="mine"):
        oci_spec(inputs(config_of(apparmor=profile)))
    with pytest.raises(Fault, match="profile mine: it is not loaded"):
        oci_spec(inputs(config_of(apparmor=profile), apparmor=frozenset({"other"})))
    loaded = apparmor.names("other (enforce)\nmine (complain)\na name (with blanks) (enforce)\n")
    assert loaded == {"other", "mine", "a name (with blanks)"}
    assert oci_spec(inputs(config_of(apparmor=profile), apparmor=loaded))["process"]["apparmorProfile"] == "mine"


@pytest.mark.parametrize(
    "machine", [None, frozenset[str](), frozenset({"mine"}), frozenset({apparmor.DEFAULT, "mine"})]
)
def test_the_default_apparmor_profile_is_the_agents_own_where_it_is_loaded(machine: frozenset[str] | None) -> None:
    def confined(**context: Any) -> str:
        return oci_spec(inputs(config_of(**context), apparmor=machine))["process"].get("apparmorProfile", "")

    default = apparmor.DEFAULT if machine and apparmor.DEFAULT in machine else ""
    assert confined() == default
    assert confined(apparmor=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)) == default
    assert not confined(apparmor=cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined))
    assert not confined(privileged=True)


def test_mounts_below_others_come_after_them_and_replace_those_of_the_machine() -> None:
    config = cri.ContainerConfig(
        mounts=[
            cri.Mount(container_path="/data/deep/", host_path="/h/deep"),
            cri.Mount(container_path="/data", host_path="/h"),
            cri.Mount(container_path="/etc/hosts", host_path="/kubelet/hosts"),
        ]
    )
    mounts = oci_spec(inputs(config))["mounts"]
    order = [mount["destination"] for mount in mounts]
    assert order.index("/data") < order.index("/data/deep")
    assert order.index("/dev") < order.index("/dev/pts")
    assert [mount["source"] for mount in mounts if mount["destination"] == "/etc/hosts"] == ["/kubelet/hosts"]


def test_read_only_reaches_below_only_where_asked() -> None:
    config = cri.ContainerConfig(
        mounts=[
            cri.Mount(container_path="/a", host_path="/a", readonly=True),
            cri.Mount(container_path="/b", host_path="/b", readonly=True, recursive_read_only=True),
        ]
    )
    options = {mount["destination"]: mount["options"] for mount in oci_spec(inputs(config))["mounts"]}
    assert "ro" in options["/a"]
    assert "rro" not in options["/a"]
    assert "rro" in options["/b"]
    config.mounts[1].readonly = False
    with pytest.raises(Fault, match="read-only"):
        oci_spec(inputs(config))


@pytest.mark.parametrize(
    ("propagation", "word"),
    [
        (cri.PROPAGATION_PRIVATE, "rprivate"),
        (cri.PROPAGATION_HOST_TO_CONTAINER, "rslave"),
        (cri.PROPAGATION_BIDIRECTIONAL, "rshared"),
    ],
)
def test_propagation_reaches_mount_and_root(propagation: cri.MountPropagation.ValueType, word: str) -> None:
    config = cri.ContainerConfig(mounts=[cri.Mount(container_path="/m", host_path="/m", propagation=propagation)])
    spec = oci_spec(inputs(config, mountinfo=SHARED))
    assert spec["linux"]["rootfsPropagation"] == word
    assert word in next(mount for mount in spec["mounts"] if mount["destination"] == "/m")["options"]


def test_propagation_from_a_private_mount_is_refused() -> None:
    mount = cri.Mount(container_path="/m", host_path="/m", propagation=cri.PROPAGATION_HOST_TO_CONTAINER)
    with pytest.raises(Fault, match="private mount"):
        oci_spec(inputs(cri.ContainerConfig(mounts=[mount]), mountinfo=PRIVATE))


def test_limits_leave_out_what_is_not_said_and_give_no_swap() -> None:
    asked = cri.LinuxContainerResources(cpu_shares=512, cpu_quota=50000, memory_limit_in_bytes=1 << 20)
    assert limits(asked) == {
        "cpu": {"shares": 512, "quota": 50000, "period": 100_000},
        "memory": {"limit": 1 << 20, "swap": 1 << 20},
    }
    assert limits(cri.LinuxContainerResources()) == {}


@pytest.mark.parametrize(("bound", "quota"), [(math.inf, 50_000), (0.5, 50_000), (0.25, -1)])
def test_a_cpu_limit_above_what_the_machine_may_use_is_left_to_the_machine(bound: float, quota: int) -> None:
    config = cri.ContainerConfig()
    config.linux.resources.CopyFrom(cri.LinuxContainerResources(cpu_quota=50_000, cpu_period=100_000))
    spec = oci_spec(inputs(config, cpu_bound=bound))
    assert spec["linux"]["resources"]["cpu"] == {"quota": quota, "period": 100_000}


def test_huge_pages_are_refused_where_they_cannot_be_limited_unless_none_are_asked() -> None:
    config = cri.ContainerConfig()
    config.linux.resources.hugepage_limits.add(page_size="2MB", limit=0)
    assert "hugepageLimits" not in oci_spec(inputs(config))["linux"]["resources"]
    config.linux.resources.hugepage_limits[0].limit = 1
    with pytest.raises(Fault, match="hugepages-2MB"):
        oci_spec(inputs(config))


def test_process_namespaces_follow_the_mode() -> None:
    def of(mode: cri.NamespaceMode.ValueType, **paths: Path) -> list[dict[str, str]]:
        config = config_of(namespace_options=cri.NamespaceOption(pid=mode))
        found = oci_spec(inputs(config, namespaces=paths))["linux"]["namespaces"]
        return [one for one in found if one["type"] == "pid"]

    assert of(cri.CONTAINER) == [{"type": "pid"}]
    assert of(cri.NODE) == []
    assert of(cri.POD, pid=Path("/ns/pid")) == [{"type": "pid", "path": "/ns/pid"}]
    with pytest.raises(Fault, match="TARGET"):
        of(cri.TARGET)


def test_a_user_namespace_brings_its_maps() -> None:
    sandbox = cri.PodSandboxConfig()
    ids = cri.IDMapping(host_id=100000, container_id=0, length=65536)
    sandbox.linux.security_context.namespace_options.userns_options.uids.append(ids)
    sandbox.linux.security_context.namespace_options.userns_options.gids.append(ids)
    linux = oci_spec(inputs(sandbox=sandbox, namespaces={"user": Path("/ns/user")}))["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]
    assert {"type": "user", "path": "/ns/user"} in linux["namespaces"]


def test_only_a_pod_with_users_of_its_own_may_see_all_of_proc() -> None:
    own, nothing = {"user": Path("/ns/user")}, cri.LinuxContainerSecurityContext()
    for namespaces, context, masked in (
        ({}, nothing, True),
        (own, nothing, False),
        (own, cri.LinuxContainerSecurityContext(masked_paths=["/x"]), False),
        (own, cri.LinuxContainerSecurityContext(readonly_paths=["/x"]), True),
    ):
        config = cri.ContainerConfig(linux=cri.LinuxContainerConfig(security_context=context))
        linux = oci_spec(inputs(config, namespaces=namespaces))["linux"]
        assert ("/proc/kcore" in linux["maskedPaths"]) == masked
    assert oci_spec(inputs(namespaces=own))["linux"]["readonlyPaths"] == []
