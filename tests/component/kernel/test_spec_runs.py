"""Specs that a real OCI runtime accepts, and what containers made from them can and cannot do."""

from __future__ import annotations

import platform
import secrets
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellagent.images.image_source import ImageConfig
from cellagent.kernel import cgroups, mounts, namespaces, oci
from cellagent.kernel.namespaces import IdMap
from cellagent.runtime import cdi
from cellagent.runtime.spec import users
from cellagent.runtime.spec.generator import SpecInputs, oci_spec
from cellwire.cri.v1 import runtime_pb2 as cri
from hostkit import programs

BUSYBOX = Path("/bin/busybox")
USUAL = cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)

pytestmark = pytest.mark.skipif(not BUSYBOX.exists(), reason="needs Debian's busybox-static")


def make_root(folder: Path) -> Path:
    root = folder / "root"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "cat", "id", "mount", "unshare", "hostname", "ls", "touch", "grep", "chroot"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:101:102::/:/bin/sh\n")
    (root / "etc/group").write_text("web:x:102:\nlogs:x:7:web\n")
    return root


async def run(folder: Path, script: str, context: cri.LinuxContainerSecurityContext, **more: Any) -> str:
    """What a script in a fresh container says; its error where it fails."""
    root = more.pop("rootfs", None) or (folder / "root" if (folder / "root").exists() else make_root(folder))
    if not context.HasField("namespace_options"):
        context.namespace_options.pid = cri.CONTAINER
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="t"),
        command=["/bin/sh", "-c", script],
        linux=cri.LinuxContainerConfig(security_context=context, resources=more.pop("resources", None)),
        mounts=more.pop("mounts", ()),
    )
    paths = more.pop("namespaces", None) or await namespaces.create(
        folder / "ns", ["net", "ipc", "uts"], hostname="pod"
    )
    (folder / "shm").mkdir(exist_ok=True)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    name = f"chk-{secrets.token_hex(4)}"
    inputs = SpecInputs(
        container=config,
        sandbox=more.pop("sandbox", cri.PodSandboxConfig()),
        image=ImageConfig(),
        rootfs=root,
        namespaces=paths,
        cgroup=f"/{name}/c",
        user=users.resolve(root, more.pop("user", "")),
        hostname="pod",
        files={"/etc/hosts": folder / "hosts"},
        shm=folder / "shm",
        lowest_oom_score=0,
        cgroup_v2=cgroups.layout() is cgroups.Layout.V2,
        mountinfo=Path("/proc/self/mountinfo").read_text(),
    )
    bundle, state = folder / "bundle", folder / "state"
    bundle.mkdir(exist_ok=True)
    spec = cdi.applied(oci_spec(inputs), more.pop("edits", ()), privileged=context.privileged)
    (bundle / "config.json").write_bytes(msgspec.json.encode(spec))
    group = cgroups.ControlGroup(f"/{name}")
    group.create(inner=True)
    try:
        runtime = str(oci.detect().path)
        done = await programs.run([runtime, "--root", str(state), "run", "--bundle", str(bundle), name], deadline=30)
        return (done.stdout + done.stderr).decode().strip()
    finally:
        group.kill()
        group.remove()
        namespaces.remove(folder / "ns")
        if (folder / "root").exists():
            shutil.rmtree(folder / "root")
        shutil.rmtree(state, ignore_errors=True)


async def test_a_plain_container_runs_confined(folder: Path) -> None:
    context = cri.LinuxContainerSecurityContext(seccomp=USUAL, supplemental_groups=[33])
    script = (
        "id; hostname; echo $$; cat /etc/hosts; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status;"
        "mount -t tmpfs x /tmp || echo no-mount; unshare -U true || echo no-unshare; touch /sys/x || echo no-sys;"
        "ls /proc/scsi; echo 1 > /proc/sys/kernel/panic || echo no-panic"
    )
    said = await run(folder, script, context, user="web")
    assert "uid=101(web) gid=102(web) groups=7,33,102(web)" in said.replace("7(logs)", "7")
    for expected in ("\npod\n", "\n1\n", "localhost", "no-mount", "no-unshare", "no-sys", "no-panic"):
        assert expected in f"\n{said}\n", said
    assert "Seccomp:\t2" in said
    assert "CapEff:\t0000000000000000" in said


async def test_a_privileged_container_may_do_what_the_machine_can(folder: Path) -> None:
    context = cri.LinuxContainerSecurityContext(privileged=True)
    said = await run(
        folder, "mount -t tmpfs x /tmp && echo mounted; grep -E 'CapEff|Seccomp:' /proc/self/status", context
    )
    assert "mounted" in said, said
    assert "Seccomp:\t0" in said


async def test_ambient_capabilities_and_no_new_privileges_reach_the_process(folder: Path) -> None:
    asked = cri.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"], drop_capabilities=["ALL"])
    context = cri.LinuxContainerSecurityContext(capabilities=asked, no_new_privs=True, readonly_rootfs=True)
    script = "grep -E 'CapAmb|NoNewPrivs' /proc/self/status; touch /tmp/x || echo read-only"
    said = await run(folder, script, context, user="web")
    assert "CapAmb:\t0000000000000400" in said, said
    assert "NoNewPrivs:\t1" in said
    assert "read-only" in said


async def test_mounts_are_read_only_as_far_as_asked_and_in_order(folder: Path) -> None:
    data = folder / "data"
    (data / "deep").mkdir(parents=True)
    mounts.tmpfs(data / "deep", 1 << 20)
    asked = [
        cri.Mount(container_path="/a/b", host_path=str(folder / "shm")),
        cri.Mount(container_path="/a", host_path=str(data), readonly=True, recursive_read_only=True),
        cri.Mount(container_path="/c", host_path=str(data), readonly=True),
    ]
    (data / "b").mkdir()
    script = (
        "touch /a/x || echo one; touch /a/deep/x || echo two; touch /c/x || echo three;"
        "touch /c/deep/x && echo four; touch /a/b/y && echo five"
    )
    try:
        said = await run(folder, script, cri.LinuxContainerSecurityContext(), mounts=asked)
    finally:
        mounts.unmount(data / "deep")
    assert [word for word in said.split() if word in {"one", "two", "three", "four", "five"}] == [
        "one", "two", "three", "four", "five",
    ], said  # fmt: skip


async def test_limits_are_seen_in_the_container(folder: Path) -> None:
    resources = cri.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_quota=50_000, cpu_shares=128)
    resources.hugepage_limits.add(page_size="2MB", limit=0)
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    said = await run(folder, script, cri.LinuxContainerSecurityContext(), resources=resources)
    assert str(64 << 20) in said, said


async def test_a_shared_process_namespace_shows_the_holder(folder: Path) -> None:
    paths = await namespaces.create(folder / "ns", ["net", "ipc", "uts", "pid"], hostname="pod")
    context = cri.LinuxContainerSecurityContext(namespace_options=cri.NamespaceOption(pid=cri.POD))
    said = await run(folder, "cat /proc/1/comm; ls /proc/1/root/ 2>&1", context, namespaces=paths)
    assert said.splitlines()[0] == "sleep"
    assert "etc" not in said


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="the list of calls is for these two")
async def test_a_pod_in_a_user_namespace_is_root_only_inside(folder: Path) -> None:
    ids = (IdMap(0, 400000, 65536),)
    paths = await namespaces.create(folder / "ns", ["net", "ipc", "uts", "user"], hostname="pod", uids=ids, gids=ids)
    sandbox = cri.PodSandboxConfig()
    mapped = cri.IDMapping(host_id=400000, container_id=0, length=65536)
    options = sandbox.linux.security_context.namespace_options.userns_options
    options.uids.append(mapped)
    options.gids.append(mapped)
    make_root(folder)
    for name in ("upper", "work", "merged"):
        (folder / name).mkdir()
    shutil.chown(folder / "upper", 400000, 400000)
    mounts.overlay([folder / "root"], folder / "upper", folder / "work", folder / "merged", userns=paths["user"])
    try:
        script = "id -u; cat /proc/self/uid_map; touch /new && ls -ln /new"
        said = await run(
            folder,
            script,
            cri.LinuxContainerSecurityContext(),
            rootfs=folder / "merged",
            sandbox=sandbox,
            namespaces=paths,
        )
        assert said.splitlines()[0] == "0", said
        assert "400000" in said
        assert (folder / "upper/new").stat().st_uid == 400000
    finally:
        mounts.unmount(folder / "merged")
        shutil.rmtree(folder / "work")


# Of the machine's devices one that no container may open unless it is told so.
SOME_DEVICE = next((path for path in ("/dev/fuse", "/dev/kvm", "/dev/loop-control") if Path(path).exists()), "")
DRIVER = """
cdiVersion: "0.6.0"
kind: example.com/gpu
containerEdits:
  env: [DRIVER=550]
  mounts:
  - hostPath: {folder}/driver
    containerPath: /opt/driver
    options: [ro, nosuid, nodev, bind]
  hooks:
  - hookName: createContainer
    path: /usr/bin/touch
    args: [touch, {folder}/hooked]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{{path: /dev/gpu0, hostPath: {device}, permissions: rw}}]
- name: all
  containerEdits:
    env: [GPUS=all]
    deviceNodes:
    - {{path: /dev/gpu0, hostPath: {device}, permissions: rw, fileMode: 438}}
"""


@pytest.mark.skipif(not SOME_DEVICE, reason="NOT RUN: this machine has no device that containers may not open anyhow")
async def test_a_container_has_the_devices_mounts_and_words_that_a_makers_specification_says(folder: Path) -> None:
    (folder / "driver").mkdir()
    (folder / "driver/libgpu.so").write_text("the driver")
    (folder / "cdi").mkdir()
    (folder / "cdi/gpu.yaml").write_text(DRIVER.format(folder=folder, device=SOME_DEVICE))
    script = (
        "cat /opt/driver/libgpu.so; touch /opt/driver/x || echo no-writing; echo $DRIVER $GPUS;"
        "(exec 3<>/dev/gpu0) && echo opened"
    )
    edits = cdi.find(["example.com/gpu=all"], [folder / "cdi"])
    said = await run(folder, script, cri.LinuxContainerSecurityContext(seccomp=USUAL), edits=edits)
    assert "the driver" in said
    assert "no-writing" in said
    assert "550 all" in said
    assert "opened" in said, said
    assert (folder / "hooked").exists(), "the hook has run"


@pytest.mark.skipif(not SOME_DEVICE, reason="NOT RUN: this machine has no device that containers may not open anyhow")
async def test_without_the_specifications_rule_the_same_device_cannot_be_opened(folder: Path) -> None:
    edits = cdi.Edits(device_nodes=(cdi.DeviceNode(path="/dev/gpu0", host_path=SOME_DEVICE, permissions="m"),))
    script = "(exec 3<>/dev/gpu0) && echo opened"
    assert "opened" not in await run(folder, script, cri.LinuxContainerSecurityContext(seccomp=USUAL), edits=(edits,))
