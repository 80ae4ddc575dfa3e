"""Images through the shim, with real cells: one id in every answer, and an image goes with the cell that has it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.shim import IMAGE, RunningShim, running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
TWO = '[[standby]]\ncount = 2\ncpu = "100m"\nmemory = "64Mi"\n'


async def pull(shim: RunningShim, config: cri.PodSandboxConfig | None, name: str = IMAGE) -> str:
    request = cri.PullImageRequest(image=cri.ImageSpec(image=name), sandbox_config=config)
    return (await call(shim.images.PullImage, request, deadline=60)).image_ref


async def listed(shim: RunningShim, name: str = "") -> list[cri.Image]:
    request = cri.ListImagesRequest(filter=cri.ImageFilter(image=cri.ImageSpec(image=name)))
    streamed = await shim.images.StreamImages(cri.StreamImagesRequest(filter=request.filter))
    found = list((await call(shim.images.ListImages, request, deadline=10)).images)
    assert [one for reply in streamed for one in reply.images] == found
    return found


async def status(shim: RunningShim, name: str) -> cri.ImageStatusResponse:
    return await call(shim.images.ImageStatus, cri.ImageStatusRequest(image=cri.ImageSpec(image=name)), deadline=10)


async def remove(shim: RunningShim, name: str) -> None:
    await call(shim.images.RemoveImage, cri.RemoveImageRequest(image=cri.ImageSpec(image=name)), deadline=10)


async def test_an_image_of_pods_has_one_id_in_every_answer_and_goes_with_their_cells(tmp_path: Path) -> None:
    async with running_shim(tmp_path, TWO) as shim:
        configs = [shim.config("u1"), shim.config("u2")]
        sandboxes = [await shim.run(config) for config in configs]
        async with asyncio.TaskGroup() as tasks:
            pulls = [tasks.create_task(pull(shim, config)) for config in configs for _ in range(3)]
        (image_id,) = {one.result() for one in pulls}
        (known,) = await listed(shim)
        assert (known.id, list(known.repo_tags)) == (image_id, [IMAGE])
        for name in (IMAGE, known.repo_digests[0], image_id, image_id[7:]):
            assert await listed(shim, name) == [known]
        assert await listed(shim, "registry.demo/web:2") == await listed(shim, "busybox") == []
        assert await pull(shim, configs[0], known.repo_digests[0]) == image_id
        for sandbox, config in zip(sandboxes, configs, strict=True):
            told = await shim.status(await shim.create(sandbox, config))
            assert (told.image_id, told.image_ref) == (image_id, known.repo_digests[0])
            wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox))
            (entry,) = (await call(shim.runtime.ListContainers, wanted, deadline=5)).containers
            assert (entry.image_id, entry.image_ref) == (told.image_id, told.image_ref)

        # A kubelet asks without saying for which pod; each pod has to pull with its own credentials.
        assert not (await status(shim, IMAGE)).HasField("image")
        async with asyncio.TaskGroup() as tasks:
            for name in (IMAGE, image_id, "nowhere.test/unknown:1"):
                tasks.create_task(remove(shim, name))
        assert await listed(shim) == [known]
        await shim.remove(sandboxes[0])
        assert await listed(shim) == [known]
        await shim.remove(sandboxes[1])
        assert await listed(shim) == []

        told = await call(shim.images.ImageFsInfo, cri.ImageFsInfoRequest(), deadline=5)
        for usage in (*told.image_filesystems, *told.container_filesystems):
            assert Path(usage.fs_id.mountpoint).is_dir()
            assert usage.timestamp > 0
        assert len(told.image_filesystems) == len(told.container_filesystems) == 1


async def test_a_pod_pulls_once_its_sandbox_runs_and_what_is_no_image_is_told_by_its_name(shim: RunningShim) -> None:
    config = shim.config("early")
    with pytest.raises(Fault, match="the pod's sandbox does not run"):
        await pull(shim, config)
    await shim.run(config)
    with pytest.raises(Fault, match="UPPER CASE"):
        await pull(shim, config, "UPPER CASE")


async def test_a_registry_that_the_cell_cannot_reach_is_told_to_the_kubelet(shim: RunningShim) -> None:
    config = shim.config("far")
    await shim.run(config)
    with pytest.raises(Fault, match=r"registry 127\.0\.0\.1:1 does not serve: it cannot be reached") as caught:
        await pull(shim, config, "127.0.0.1:1/web:1")
    assert caught.value.kind is Kind.UNAVAILABLE


async def test_an_image_pulled_without_a_pod_is_present_for_all_until_it_is_removed(tmp_path: Path) -> None:
    async with running_shim(tmp_path, TWO) as shim:
        image_id = await pull(shim, None)
        (known,) = await listed(shim)
        for name in (IMAGE, image_id, known.repo_digests[0]):
            assert (await status(shim, name)).image == known
            assert await listed(shim, name) == [known]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(remove(shim, IMAGE))
        assert not (await status(shim, IMAGE)).HasField("image")
        assert await listed(shim) == []


async def test_an_image_is_a_read_only_volume_told_by_its_id(shim: RunningShim) -> None:
    config = shim.config("tools")
    sandbox = await shim.run(config)
    image_id = await pull(shim, config)
    mount = cri.Mount(container_path="/tools", image=cri.ImageSpec(image=IMAGE), image_sub_path="bin", readonly=True)
    plain = cri.Mount(container_path="/scratch", host_path="/var/tmp")
    container = await shim.create(sandbox, config, mounts=[plain, mount])
    await shim.start(container)
    script = "test -x /tools/sh && echo there; touch /tools/x 2>/dev/null || echo refused"
    assert await shim.said(container, script) == "there\nrefused\n"
    beside, told = (await shim.status(container)).mounts
    assert (beside.host_path, beside.HasField("image")) == ("/var/tmp", False)
    assert (told.image.image, told.image.image_ref, told.image_sub_path) == (IMAGE, image_id, "bin")


async def test_a_cell_that_only_waits_for_an_image_is_given_back_and_its_pod_gets_another_later(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "image_patience = 3.0\n") as shim, asyncio.timeout(300):
        refused: Fault | None = None
        attempt, sandbox = 0, await shim.run(shim.config("u1"))
        # Each pause is twice as long as the one before: the first may be over before a slow machine has asked again.
        while refused is None:
            while (await shim.sandbox_status(sandbox)).state == cri.SANDBOX_READY:
                with pytest.raises(Fault, match="none"):
                    await pull(shim, shim.config("u1", attempt=attempt), "registry.demo/none:9")
                await asyncio.sleep(1)
            attempt += 1
            try:
                sandbox = await shim.run(shim.config("u1", attempt=attempt))
            except Fault as fault:
                refused = fault
        assert "image_patience" in str(refused)
