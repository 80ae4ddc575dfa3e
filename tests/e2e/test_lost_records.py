"""The controller's store is lost, its folder of keys is not: what runs on EC2 runs on, and is known again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.e2e.test_ec2 import nothing_is_left, ready
from tests.support.ec2_controller import ControllerOnEc2, running_on_ec2
from tests.support.manifests import COUNT, pod
from tests.support.shim import settings_in, shim_of

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]


async def lose_the_records(world: ControllerOnEc2, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Kill the controller, throw its store away, start it again."""
    await world.controller.kill(signal.SIGKILL)
    meanwhile()
    stored = list((world.controller.folder / "state").glob("records.sqlite*"))
    assert stored
    for file in stored:
        file.unlink()
    await world.controller.start()


async def test_pods_run_on_and_kubectl_knows_them_again(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        kubectl = world.controller.kubectl
        await kubectl("create", "namespace", "shop")
        await kubectl("apply", "-n", "shop", "-f", "-", stdin=pod("web", COUNT) + pod("db", COUNT))
        await kubectl("wait", "-n", "shop", "--for=condition=Ready", "pod/web", "pod/db", "--timeout=90s")
        before = json.loads(await kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
        running = sorted(world.running())
        assert len(running) == 2

        await lose_the_records(world)
        await kubectl("wait", "-n", "shop", "--for=condition=Ready", "pod/web", "pod/db", "--timeout=30s")
        after = json.loads(await kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
        for was, now in zip(before, after, strict=True):
            assert now["metadata"]["uid"] == was["metadata"]["uid"]
            assert now["metadata"]["annotations"] == was["metadata"]["annotations"], "what it costs is known again"
            (had,), (has,) = (each["status"]["containerStatuses"] for each in (was, now))
            assert (has["containerID"], has["restartCount"]) == (had["containerID"], 0)
        assert sorted(world.running()) == running
        assert "line 1\nline 2\n" in await kubectl("logs", "-n", "shop", "web")
        assert "there" in await kubectl("exec", "-n", "shop", "web", "--", "echo", "there")
        assert {one["instance"] for one in await world.controller.cells()} == set(running)

        await kubectl("delete", "pods", "-n", "shop", "--all", seconds=120)
        await nothing_is_left(world)


def agents_of(machine: int) -> list[int]:
    """Agents on a machine, by its first process."""
    found: list[int] = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            same = (each / "ns/pid").readlink() == Path(f"/proc/{machine}/ns/pid").readlink()
            if same and b"cellagent" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


async def test_while_lost_cells_are_waited_for_kubectl_is_told_so_and_a_signal_is_heard_at_once(tmp_path: Path) -> None:
    # The cells would be waited for for minutes.
    async with running_on_ec2(tmp_path, fleet="lease = 300\nheartbeat = 1\n") as world:
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web", COUNT))
        await ready(world, "web")
        stopped = agents_of(world.instances.pid(world.running()[0]))
        assert stopped
        for agent in stopped:
            os.kill(agent, signal.SIGSTOP)

        starting = asyncio.create_task(lose_the_records(world))
        try:
            async with asyncio.timeout(60):
                while "their cells are waited for" not in world.controller.words():
                    await asyncio.sleep(0.1)
            status, _, said = await world.controller.kubectl_raw("get", "pods", seconds=60)
            assert status == 1
            assert "takes back the cells that run" in said
            process = world.controller.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() == 0, world.controller.words()
        finally:
            starting.cancel()
            for agent in stopped:
                os.kill(agent, signal.SIGCONT)
        await world.controller.start()
        await world.controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        assert len(world.running()) == 1, "it was taken back all the same"


def end_of(*command: str) -> None:
    """End a process of a pod by what it was started with, as a crash of it would."""
    wanted = "\0".join(command) + "\0"
    (found,) = [one for one in Path("/proc").glob("[0-9]*/cmdline") if _read(one) == wanted]
    os.kill(int(found.parent.name), signal.SIGKILL)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


async def test_a_pod_whose_container_ended_meanwhile_is_started_again_on_its_cell(tmp_path: Path) -> None:
    span = str(secrets.randbelow(10**9) + 10**6)
    async with running_on_ec2(tmp_path) as world:
        kubectl = world.controller.kubectl
        await kubectl("apply", "-f", "-", stdin=pod("web", f"sleep {span}; exit 3"))
        await ready(world, "web")
        (instance,) = world.running()
        await lose_the_records(world, lambda: end_of("sleep", span))
        await kubectl(
            "wait", "pod/web", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s"
        )
        (container,) = json.loads(await kubectl("get", "pod", "web", "-o", "json"))["status"]["containerStatuses"]
        assert container["lastState"]["terminated"]["exitCode"] == 3
        assert world.running() == [instance]

        await kubectl("delete", "pod", "web")
        await nothing_is_left(world)


SAY = "trap 'echo over > /dev/termination-log; exit 5' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done"


async def test_a_kubelet_finds_its_sandbox_and_containers_as_they_were(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, more=settings_in(tmp_path)) as world:
        with shim_of(world.controller, tmp_path) as shim:
            secret = shim.volume("u1", "secret", "keys")
            secret.write({"key": b"old"})
            message = tmp_path / "pods/u1/containers/c/0a1b"
            message.parent.mkdir(parents=True)
            message.touch()
            termination = cri.Mount(host_path=str(message), container_path="/dev/termination-log")
            sandbox, container = await shim.pod("sh", "-c", SAY, mounts=(secret.mount("/keys"), termination), uid="u1")
            (instance,) = world.running()
            was = await shim.status(container)

            await lose_the_records(world)
            shim.redial()
            assert (await shim.sandbox_status(sandbox)).state == cri.SANDBOX_READY
            status = await shim.status(container)
            assert (status.state, status.started_at) == (cri.CONTAINER_RUNNING, was.started_at)
            assert (status.log_path, list(status.mounts)) == (was.log_path, list(was.mounts))
            assert await shim.run(shim.config("u1")) == sandbox, "a kubelet that asks again gets the one that is there"
            assert world.running() == [instance]

            secret.write({"key": b"new"})
            for _ in range(100):
                if await shim.said(container, "cat /keys/key") == "new":
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(world.controller.words())

            await call(
                shim.runtime.StopContainer, cri.StopContainerRequest(container_id=container, timeout=20), deadline=60
            )
            assert (await shim.status(container)).exit_code == 5
            assert message.read_text() == "over\n"
            await shim.remove(sandbox)
            numbers = [int(line.rsplit(" ", 1)[1]) for line in Path(was.log_path).read_text().splitlines()]
            assert numbers == list(range(1, len(numbers) + 1)), "no line is lost or there twice"
            await nothing_is_left(world)
