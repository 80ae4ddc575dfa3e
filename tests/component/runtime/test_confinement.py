"""AppArmor where the kernel confines by it: whose profile a container has, and what the agent's own one denies."""

from __future__ import annotations

import os

import pytest

from cellagent.kernel import apparmor
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from tests.component.runtime.conftest import Agents, Client

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or apparmor.loaded() is None, reason="NOT RUN: this kernel does not confine by AppArmor"
)
CONFINED = f"{apparmor.DEFAULT} (enforce)"


async def confined(client: Client, profile: cri.SecurityProfile | None, *, privileged: bool = False) -> str:
    """What a container with this profile, and a command in it, are confined by."""
    linux = cri.LinuxContainerConfig()
    linux.security_context.namespace_options.pid = cri.CONTAINER
    linux.security_context.MergeFrom(cri.LinuxContainerSecurityContext(apparmor=profile, privileged=privileged))
    container = await client.run("sh", "-c", "cat /proc/self/attr/current; sleep 60", linux=linux)
    done = await client.exec(container, "cat", "/proc/self/attr/current")
    said = done.stdout.decode().strip()
    assert said in await client.log(container)
    return said


async def test_each_container_has_the_profile_that_its_pod_asks_for(agent: Agents) -> None:
    async with agent() as client:
        default = cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
        none = cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
        named = cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref=apparmor.DEFAULT)
        assert await confined(client, None) == CONFINED
        assert await confined(client, default) == CONFINED
        assert await confined(client, named) == CONFINED
        # Debian 13 has a profile for crun itself, which confines nothing and goes on to what crun starts.
        assert "unconfined" in await confined(client, none)
        assert "unconfined" in await confined(client, default, privileged=True)
        absent = cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref="no-such-profile")
        with pytest.raises(Fault, match="no-such-profile"):
            await confined(client, absent)


async def test_processes_without_new_privileges_may_signal_each_other(agent: Agents) -> None:
    async with agent() as client:
        linux = cri.LinuxContainerConfig()
        linux.security_context.namespace_options.pid = cri.CONTAINER
        linux.security_context.no_new_privs = True
        container = await client.run(
            "sh", "-c", "trap 'echo told; exit 3' TERM; while :; do sleep 0.1; done", linux=linux
        )
        for script in ("sleep 60 & kill $!", "kill -0 1", "kill -URG $$; ls /proc/1/fd >/dev/null"):
            done = await client.exec(container, "sh", "-c", script)
            assert done.exit_code == 0, done.stderr
        await client.stop(container, timeout=10)
        assert (await client.exited(container)).exit_code == 3


async def test_a_confined_container_works_and_cannot_mount_or_change_the_machine(agent: Agents) -> None:
    async with agent() as client:
        linux = cri.LinuxContainerConfig()
        linux.security_context.namespace_options.pid = cri.CONTAINER
        linux.security_context.capabilities.add_capabilities.append("ALL")
        # Without masks and read-only paths of the runtime's, the profile alone is in the way.
        linux.security_context.masked_paths.append("/nowhere")
        linux.security_context.readonly_paths.append("/nowhere")
        container = await client.run("sleep", "3600", linux=linux)

        async def said(script: str) -> str:
            done = await client.exec(container, "sh", "-c", f"({script}) 2>&1; echo $?")
            return done.stdout.decode().strip()

        assert await said("sleep 60 & kill $!") == "0"
        assert await said("echo x > /tmp/a && mkdir /tmp/b && cat /tmp/a") == "x\n0"
        assert await said(
            "nc -l -p 7000 >/tmp/got & sleep 0.3; echo hi | nc -w 1 127.0.0.1 7000; wait; cat /tmp/got"
        ) == ("hi\n0")
        assert "ermission denied" in await said("mount -t tmpfs none /tmp/b")
        assert "ermission denied" in await said("echo h > /proc/sysrq-trigger")
        assert "ermission denied" in await said("cat /proc/kcore | dd bs=1 count=1")
        assert "ermission denied" in await said("echo 1 > /proc/sys/vm/drop_caches")
        assert "ermission denied" in await said("echo x > /proc/sys/kernel/core_pattern")
        assert await said("ls /proc/1/fd > /dev/null") == "0"
        await client.stop(container, timeout=5)
        assert (await client.exited(container)).exit_code in {137, 143}
