"""Security contexts: each does in a real container what was asked, or is refused by its name."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from cellagent.kernel import apparmor, selinux
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from tests.component.runtime.conftest import Agents, Client
from tests.support.cri_security import PROFILE, ROWS, Context, SecurityCase


def lines(log: str) -> str:
    """What a container has said, in one line."""
    return " ".join(line.split(" ", 3)[3] for line in log.splitlines()).strip()


async def said(client: Client, sandbox: str, script: str, context: Context | None = None, **more: Any) -> str:
    """What a container of that context says to its end."""
    linux = cri.LinuxContainerConfig(security_context=context or Context())
    container = await client.create(sandbox, "sh", "-c", script, name=os.urandom(3).hex(), linux=linux, **more)
    await client.start(container)
    await client.exited(container)
    return lines(await client.log(container))


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_a_security_context_does_what_it_says(agent: Agents, row: SecurityCase) -> None:
    if not all(Path(one.host_path).exists() for one in row.devices):
        pytest.skip("NOT RUN: this machine lacks the device")
    async with agent() as client:
        linux = cri.LinuxContainerConfig(security_context=row.context)
        container = await client.create(
            await client.sandbox(), "sh", "-c", row.script, linux=linux, devices=row.devices
        )
        await client.start(container)
        status = await client.exited(container)
        assert lines(await client.log(container)).split() == row.said.split()
        if row.groups:
            assert tuple(sorted(status.user.linux.supplemental_groups)) == row.groups


async def test_a_local_filter_of_calls_refuses_what_it_names(agent: Agents, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    names = ["mkdir", "mkdirat"]
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    async with agent() as client:
        sandbox = await client.sandbox()
        local = PROFILE(profile_type=PROFILE.Localhost, localhost_ref=str(profile))
        script = "mkdir /x 2>/dev/null && echo made || echo refused; touch /y && echo touched"
        assert await said(client, sandbox, script, Context(seccomp=local)) == "refused touched"
        older = Context(seccomp_profile_path=f"localhost/{profile}")
        assert await said(client, sandbox, script, older) == "refused touched"
        missing = PROFILE(profile_type=PROFILE.Localhost, localhost_ref="/no/such.json")
        with pytest.raises(Fault, match=r"seccomp profile /no/such\.json") as caught:
            await said(client, sandbox, "true", Context(seccomp=missing))
        assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("context", "words", "kind"),
    [
        (Context(capabilities=cri.Capability(add_capabilities=["FLY"])), "capability FLY", Kind.INVALID),
        (Context(run_as_username="nobody-here"), "user nobody-here", Kind.INVALID),
        (Context(run_as_group=cri.Int64Value(value=5)), "set without a user", Kind.INVALID),
    ],
    ids=["capability", "user", "group"],
)  # fmt: skip
async def test_what_cannot_be_honoured_is_refused_by_name(
    agent: Agents, context: Context, words: str, kind: Kind
) -> None:
    async with agent() as client:
        with pytest.raises(Fault, match=words) as caught:
            await said(client, await client.sandbox(), "true", context)
        assert caught.value.kind is kind


async def test_an_apparmor_profile_that_is_not_there_is_refused_by_name(agent: Agents) -> None:
    local = PROFILE(profile_type=PROFILE.Localhost, localhost_ref="localhost/mine-of-nowhere")
    async with agent() as client:
        sandbox = await client.sandbox()
        for context in (Context(apparmor=local), Context(apparmor_profile="localhost/mine-of-nowhere")):
            with pytest.raises(Fault, match="AppArmor profile mine-of-nowhere") as caught:
                await said(client, sandbox, "true", context)
            absent = apparmor.loaded() is None
            assert caught.value.kind is (Kind.UNSUPPORTED if absent else Kind.INVALID)
        usual = PROFILE(profile_type=PROFILE.RuntimeDefault)
        assert await said(client, sandbox, "echo ran", Context(apparmor=usual)) == "ran"


async def test_settings_of_the_kernel_are_the_pods_own_or_refused_by_name(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        wanted = {"net.ipv4.ip_local_port_range": "20000\t30000", "kernel.shm_rmid_forced": "1"}
        config.linux.sysctls.update(wanted)
        sandbox = await client.sandbox(config)
        script = "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced"
        assert (await said(client, sandbox, script)).split() == ["20000", "30000", "1"]
        foreign = client.sandbox_config()
        foreign.linux.sysctls["kernel.panic"] = "1"
        with pytest.raises(Fault, match=r"sysctl kernel\.panic"):
            await client.sandbox(foreign)
        for ipc in (cri.POD, cri.NODE):
            shared = client.sandbox_config()
            shared.linux.security_context.namespace_options.network = cri.NODE
            shared.linux.security_context.namespace_options.ipc = ipc
            shared.linux.sysctls["net.ipv4.ip_forward"] = "1"
            with pytest.raises(Fault, match=r"sysctl net\.ipv4\.ip_forward.*the pod has no net namespace of its own"):
                await client.sandbox(shared)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("network", cri.POD),
        ("network", cri.NODE),
        ("network", cri.CONTAINER),
        ("ipc", cri.POD),
        ("ipc", cri.NODE),
        ("ipc", cri.CONTAINER),
        ("pid", cri.POD),
        ("pid", cri.CONTAINER),
        ("pid", cri.NODE),
    ],
)
async def test_namespaces_are_those_of_the_pod_the_container_or_the_machine(
    agent: Agents, kind: str, mode: cri.NamespaceMode.ValueType
) -> None:
    file = {"network": "net"}.get(kind, kind)
    async with agent() as client:
        config = client.sandbox_config()
        options = config.linux.security_context.namespace_options
        options.network, options.ipc, options.pid = cri.POD, cri.POD, cri.POD
        setattr(options, kind, mode)
        sandbox = await client.sandbox(config)
        found = {
            await said(client, sandbox, f"busybox readlink /proc/self/ns/{file}", Context(namespace_options=options))
            for _ in range(2)
        }
        machine = str(Path(f"/proc/self/ns/{file}").readlink())
        if mode == cri.NODE:
            assert found == {machine}
        else:
            assert machine not in found
            assert len(found) == 1 or mode == cri.CONTAINER


async def test_a_container_may_leave_what_its_pod_shares_and_be_joined_there(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        apart = cri.NamespaceOption(network=cri.CONTAINER, ipc=cri.CONTAINER, pid=cri.CONTAINER)
        linux = cri.LinuxContainerConfig(security_context=Context(namespace_options=apart))
        command = "echo mine > /dev/shm/file; ls -A /sys/class/net; exec sleep 4321"
        target = await client.create(sandbox, "sh", "-c", command, name="target", linux=linux)
        await client.start(target)
        while "lo" not in lines(await client.log(target)):
            await asyncio.sleep(0.02)
        assert lines(await client.log(target)).split() == ["lo"]
        script = "cat /dev/shm/file 2>/dev/null || echo none; ls -A /sys/class/net"
        assert set((await said(client, sandbox, script)).split()) >= {"none", "eth0"}
        joined = cri.NamespaceOption(network=cri.TARGET, ipc=cri.TARGET, pid=cri.TARGET, target_id=target)
        assert (await said(client, sandbox, script, Context(namespace_options=joined))).split() == ["mine", "lo"]
        machine = cri.NamespaceOption(network=cri.NODE, ipc=cri.NODE, pid=cri.NODE)
        script = "for each in net ipc pid; do busybox readlink /proc/self/ns/$each; done"
        found = (await said(client, sandbox, script, Context(namespace_options=machine))).split()
        assert found == [str(Path("/proc/self/ns", each).readlink()) for each in ("net", "ipc", "pid")]


@pytest.mark.skipif(selinux.enabled(), reason="SELinux is on here")
async def test_selinux_options_of_pod_and_container_have_no_effect_where_selinux_is_off(agent: Agents) -> None:
    options = cri.SELinuxOption(user="u", role="r", type="spc_t", level="s0:c1")
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.security_context.selinux_options.CopyFrom(options)
        sandbox = await client.sandbox(config)
        assert await said(client, sandbox, "echo runs", Context(selinux_options=options)) == "runs"


async def test_a_container_joins_the_processes_of_its_target_while_that_runs(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        target = await client.create(sandbox, "sleep", "4321", name="target")
        await client.start(target)
        options = cri.NamespaceOption(pid=cri.TARGET, target_id=target)
        script = "busybox tr '\\0' ' ' < /proc/1/cmdline"
        assert "sleep 4321" in await said(client, sandbox, script, Context(namespace_options=options))
        with pytest.raises(Fault, match="no running container of this sandbox"):
            await said(client, await client.sandbox(), "true", Context(namespace_options=options))
        await client.stop(target)
        with pytest.raises(Fault, match="no running container of this sandbox") as caught:
            await said(client, sandbox, "true", Context(namespace_options=options))
        assert caught.value.kind is Kind.PRECONDITION
        options.target_id = "unknown"
        with pytest.raises(Fault) as caught:
            await said(client, sandbox, "true", Context(namespace_options=options))
        assert caught.value.kind is Kind.NOT_FOUND


async def test_a_privileged_container_has_the_machines_devices_in_folders_too(agent: Agents) -> None:
    folder = Path("/dev/chinampa-test")
    folder.mkdir()
    try:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        async with agent() as client:
            script = "echo x > /dev/chinampa-test/null && stat -c %F /dev/chinampa-test/null"
            told = await said(client, await client.sandbox(), script, Context(privileged=True))
            assert told == "character special file"
    finally:
        shutil.rmtree(folder)
