"""The baked disk, booted by QEMU in software, as an instance of the tests' EC2, under a real controller and kubectl.

Minutes long, so it is asked for by name (`make test-image`): CELL_DISK names the disk.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import time
from pathlib import Path

import pytest

from tests.support.ec2_controller import ControllerOnEc2, running_on_ec2
from tests.support.qemu_machines import FIRMWARE, Hardware, lacking

DISK = Path(os.environ.get("CELL_DISK", ""))
NOT_HERE = "CELL_DISK names no disk: run `make test-image`" if not DISK.is_file() else lacking()
pytestmark = [
    pytest.mark.skipif(bool(NOT_HERE), reason=f"NOT RUN: {NOT_HERE}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(3000),
]
PATIENT = "lease = 120\nheartbeat = 2\nboot = 1800\n"
# The whole machine is seen from it, as a person who debugs an image would look.
INSPECTOR = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostPID: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: registry.demo/web:1
    command: [sh, -c, "n=0; while [ ! -e /tmp/enough ]; do n=$((n+1)); echo line $n; sleep 0.2; done; echo the end"]
    securityContext: {privileged: true}
    resources: {requests: {cpu: 50m, memory: 16Mi}}
"""
AGENT = (
    "for p in /proc/[0-9]*; do "
    "busybox grep -q bin/cellagent.run $p/cmdline 2>/dev/null && busybox cat $p/smaps_rollup; done; true"
)
HOST = ("busybox", "nsenter", "-t", "1", "-m", "-p", "-n", "--")


async def inside(world: ControllerOnEc2, *argv: str) -> str:
    return await world.controller.kubectl("exec", "web", "--", *argv, seconds=120)


async def on_host(world: ControllerOnEc2, script: str) -> str:
    return await inside(world, *HOST, "sh", "-c", script)


async def booted(world: ControllerOnEc2, seconds: int = 1800, pod: str = INSPECTOR) -> str:
    """Declare the pod; its instance, once it runs."""
    await world.controller.kubectl("apply", "-f", "-", stdin=pod)
    try:
        await world.controller.kubectl(
            "wait", "--for=condition=Ready", "pod/web", f"--timeout={seconds}s", seconds=seconds + 10
        )
    except AssertionError as error:
        told = {name: world.instances.console(name)[-3000:] for name in world.states()}
        raise AssertionError(f"{error}\n{told}") from error
    (instance,) = world.running()
    return instance


async def joined_after(world: ControllerOnEc2) -> float:
    """Seconds from the start of the kernel to the join, by the guest's uptime and the controller's log."""
    up = float((await inside(world, "busybox", "cat", "/proc/uptime")).split()[0])
    began = time.time() - up
    said = re.search(r"timestamp='([^']+)'.*'cell joined'", (world.controller.folder / "controller.log").read_text())
    assert said
    return datetime.datetime.fromisoformat(said[1]).timestamp() - began


def field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found, text
    return int(found[1])


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
async def test_a_pod_on_the_baked_disk_outlives_its_agent_and_its_network_and_loses_no_line_when_the_plug_is_pulled(
    tmp_path: Path, *, uefi: bool
) -> None:
    if uefi and not FIRMWARE.exists():
        pytest.skip("NOT RUN: no UEFI firmware: install ovmf")
    async with running_on_ec2(tmp_path, real=1, fleet=PATIENT, hardware=Hardware(DISK, uefi=uefi)) as world:
        began = time.monotonic()
        instance = await booted(world)
        ready = time.monotonic() - began
        kubectl = world.controller.kubectl
        memory = await inside(world, "busybox", "cat", "/proc/meminfo")
        agent = await inside(world, "sh", "-c", AGENT)
        used = field(memory, "MemTotal") - field(memory, "MemAvailable")
        print(
            f"\n{'uefi' if uefi else 'bios'}: kernel start to joined {await joined_after(world):.1f} s, "
            f"pod ready {ready:.1f} s after it was declared; "
            f"agent {field(agent, 'Pss') >> 10} MiB (PSS), guest {used >> 10} MiB with a pod"
        )

        assert "line 1\nline 2\n" in await kubectl("logs", "web")
        status, _, _ = await world.controller.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
        assert status == 7

        # /usr cannot be changed, the root has grown to its disk.
        assert " /usr erofs ro" in await on_host(world, "cat /proc/mounts")
        blocks, size = (await on_host(world, "stat -f -c '%b %S' /")).split()
        assert int(blocks) * int(size) > 3 << 30

        lines = len((await kubectl("logs", "web")).splitlines())
        before = await on_host(world, "systemctl show -p MainPID --value cellagent")
        await world.controller.kubectl_raw("exec", "web", "--", "sh", "-c", f"kill -9 {before.strip()}")
        await until_reachable(world)
        assert (await on_host(world, "systemctl show -p MainPID --value cellagent")) != before
        rules = await on_host(world, "ip rule; ip route show table all")
        await on_host(world, "systemctl restart systemd-networkd && sleep 2 && networkctl >/dev/null")
        await until_reachable(world)
        assert (await on_host(world, "ip rule; ip route show table all")).splitlines()[:3] == rules.splitlines()[:3]
        assert len((await kubectl("logs", "web")).splitlines()) > lines

        await inside(world, "busybox", "touch", "/tmp/enough")
        await kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/web", "--timeout=600s", seconds=610)
        await until_off(world, instance)
        said = (await kubectl("logs", "web")).splitlines()
        assert said == [*(f"line {number}" for number in range(1, len(said))), "the end"]


async def until_reachable(world: ControllerOnEc2) -> None:
    """Wait until an exec comes back, and the pod's own address answers this machine."""
    async with asyncio.timeout(600):
        while (await world.controller.kubectl_raw("exec", "web", "--", "true", seconds=60))[0]:
            await asyncio.sleep(0.5)
    address = await world.controller.kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}")
    ping = await asyncio.create_subprocess_exec("busybox", "ping", "-c", "3", "-W", "10", address)
    assert await ping.wait() == 0, address


async def until_off(world: ControllerOnEc2, instance: str) -> None:
    async with asyncio.timeout(600):
        while world.instances.alive or world.states()[instance] != "terminated":
            await asyncio.sleep(0.2)
