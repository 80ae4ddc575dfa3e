"""The shim over its controller's death, a lost cell and a slow boot, with real cells."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.clouds.local import instance_cgroups
from tests.support.controller import running_controller
from tests.support.processes import first_of
from tests.support.shim import IMAGE, running_shim, settings_in, shim_of
from tests.support.waiting import until_found

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
COUNT = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done"


def lines(log: Path) -> list[str]:
    """The words of a CRI log."""
    return [line.split(" ", 3)[3] for line in log.read_text().splitlines()]


async def test_a_killed_controller_keeps_ids_states_exit_codes_and_log_positions(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        counting, running = await shim.pod("sh", "-c", COUNT, uid="u1")
        _, ending = await shim.pod("sh", "-c", "sleep 2; echo last words; exit 7", uid="u2")
        log = tmp_path / "logs/u1/c/0.log"
        await until_found(lambda: _has(log, 20))
        await shim.controller.kill()
        await asyncio.sleep(2.5)
        await shim.controller.start()
        shim.redial()

        listed = await call(shim.runtime.ListContainers, cri.ListContainersRequest(), deadline=10)
        assert {one.id for one in listed.containers} == {running, ending}
        assert (await shim.status(running)).state == cri.CONTAINER_RUNNING

        async def exited() -> bool:
            return (await shim.status(ending)).state == cri.CONTAINER_EXITED

        await until_found(exited)
        assert (await shim.status(ending)).exit_code == 7
        await until_found(lambda: _has(log, 150))
        await shim.remove(counting)
        found = lines(log)
        assert found == [f"line {number}" for number in range(1, len(found) + 1)]
        assert lines(tmp_path / "logs/u2/c/0.log") == ["last words"]


async def test_a_pod_asked_for_again_while_its_cell_boots_gets_that_cell(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        config = shim.config("u1")
        with pytest.raises(Fault) as late:
            # What is left after the margin for the answer is a tenth of a second.
            await call(shim.runtime.RunPodSandbox, cri.RunPodSandboxRequest(config=config), deadline=1.1)
        assert late.value.kind is Kind.TIMEOUT
        assert "cell c-" in late.value.cause
        assert "the cell is kept" in str(late.value)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(shim.run(config)) for _ in range(3)]
        assert len({task.result() for task in asked}) == 1
        assert len(await shim.controller.cells()) == 1


async def test_a_pod_that_fits_nowhere_is_told_why(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        config = shim.config("u1")
        config.linux.resources.cpu_shares = 1024 * 500
        with pytest.raises(Fault) as refused:
            await shim.run(config)
        assert "500" in str(refused.value)
        asked = cri.RunPodSandboxRequest(config=shim.config("u2"), runtime_handler="gvisor")
        with pytest.raises(Fault, match="runtime handler gvisor") as refused:
            await call(shim.runtime.RunPodSandbox, asked, deadline=10)
        assert refused.value.kind is Kind.INVALID
        while await shim.controller.cells():  # what nothing was bought for is forgotten
            await asyncio.sleep(0.05)


async def test_a_pod_for_which_there_is_no_capacity_is_told_how_much_there_is(tmp_path: Path) -> None:
    # Room for one of the smallest instances.
    more = f"memory_mib = 300\n{settings_in(tmp_path)}"
    async with running_controller(tmp_path, more) as controller:
        with shim_of(controller, tmp_path) as shim:
            await shim.run(shim.config("u1"))
            with pytest.raises(Fault, match="MiB of this machine are free") as refused:
                await shim.run(shim.config("u2"))
            assert refused.value.kind is Kind.NO_CAPACITY


async def test_what_a_kubelet_polls_is_answered_while_every_cell_is_frozen(tmp_path: Path) -> None:
    # Until the cells are believed to be lost, which is not at stake.
    async with running_shim(tmp_path, lease=60) as shim:
        pull = cri.PullImageRequest(image=cri.ImageSpec(image=IMAGE))
        image = (await call(shim.images.PullImage, pull, deadline=60)).image_ref
        sandbox, container = await shim.pod(uid="u1")
        await call(shim.runtime.ListContainerStats, cri.ListContainerStatsRequest(), deadline=10)
        groups = instance_cgroups.Groups(shim.controller.cloud.cluster, shim.controller.cloud.cgroup_parent)
        frozen = [pid for cell in await shim.controller.cells() for pid in groups.pids(cell["instance"])]
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            runtime, images = shim.runtime, shim.images
            assert (await call(runtime.Version, cri.VersionRequest(), deadline=2)).runtime_name == "chinampa"
            told = await call(runtime.Status, cri.StatusRequest(), deadline=2)
            assert told.features.mount_options
            listed = await call(runtime.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=2)
            assert [one.id for one in listed.items] == [sandbox]
            containers = await call(runtime.ListContainers, cri.ListContainersRequest(), deadline=2)
            assert [one.id for one in containers.containers] == [container]
            asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
            status = await call(runtime.PodSandboxStatus, asked, deadline=2)
            assert [one.id for one in status.containers_statuses] == [container]
            assert status.timestamp
            wanted = cri.ContainerStatusRequest(container_id=container)
            found = await call(runtime.ContainerStatus, wanted, deadline=2)
            assert found.status.image_id == image
            stats = await call(runtime.ListContainerStats, cri.ListContainerStatsRequest(), deadline=2)
            assert [one.attributes.id for one in stats.stats] == [container]
            present = await call(images.ListImages, cri.ListImagesRequest(), deadline=2)
            assert [one.id for one in present.images] == [image]
            for name, here in ((IMAGE, image), (image[7:19], image), ("docker.io/library/other:1", "")):
                seen = cri.ImageStatusRequest(image=cri.ImageSpec(image=name))
                assert (await call(images.ImageStatus, seen, deadline=2)).image.id == here
            assert (await call(images.ImageFsInfo, cri.ImageFsInfoRequest(), deadline=2)).image_filesystems
        finally:
            for pid in frozen:
                # Who had ended when they were looked up is gone by now.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


async def test_a_lost_cell_is_told_as_the_end_of_its_containers(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        sandbox, container = await shim.pod(uid="u1")
        (cell,) = await shim.controller.cells()
        groups = instance_cgroups.Groups(shim.controller.cloud.cluster, shim.controller.cloud.cgroup_parent)
        os.kill(first_of(groups.pids(cell["instance"])), signal.SIGKILL)

        async def over() -> bool:
            return (await shim.sandbox_status(sandbox)).state == cri.SANDBOX_NOTREADY

        await until_found(over)
        status = await shim.status(container)
        assert (status.state, status.reason) == (cri.CONTAINER_EXITED, "CellLost")
        assert status.message
        remove = cri.RemoveContainerRequest(container_id=container)
        await call(shim.runtime.RemoveContainer, remove, deadline=10)
        # The kubelet then starts the pod anew, and takes the old one away.
        again = await shim.run(shim.config("u1", attempt=1))
        assert again != sandbox
        await shim.remove(sandbox)
        with pytest.raises(Fault) as gone:
            await shim.sandbox_status(sandbox)
        assert gone.value.kind is Kind.NOT_FOUND
        await shim.remove(sandbox)


async def test_a_running_container_is_removed_with_its_log_whole(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        _, container = await shim.pod("sh", "-c", COUNT, uid="u1")
        await until_found(lambda: _has(tmp_path / "logs/u1/c/0.log", 5))
        await call(shim.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)
        found = lines(tmp_path / "logs/u1/c/0.log")
        assert found == [f"line {number}" for number in range(1, len(found) + 1)]
        await call(shim.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)


async def _has(log: Path, count: int) -> bool:
    return log.exists() and len(log.read_text().splitlines()) >= count
