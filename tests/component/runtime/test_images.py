"""Images as a kubelet uses them: one id in every answer, and layers that stay for as long as anything runs on them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Client, busybox, running_agent
from tests.support.oci import Pushed, layer, push_image
from tests.support.registry import running_registry


class Keeper:
    """The image service of an agent, as a kubelet asks it."""

    def __init__(self, client: Client, root: Path) -> None:
        self.stub = runtime_grpc.ImageServiceStub(client.channel)
        self._layers = root / "images/layers"

    def layers(self) -> set[str]:
        """The folders of unpacked layers."""
        return {one.name for one in self._layers.iterdir()}

    async def pull(self, name: str) -> str:
        return (await call(self.stub.PullImage, cri.PullImageRequest(image=spec(name)), deadline=30)).image_ref

    async def status(self, name: str) -> cri.Image | None:
        told = await call(self.stub.ImageStatus, cri.ImageStatusRequest(image=spec(name)), deadline=10)
        return told.image if told.HasField("image") else None

    async def listed(self, name: str = "") -> list[cri.Image]:
        request = cri.ListImagesRequest(filter=cri.ImageFilter(image=spec(name)))
        return list((await call(self.stub.ListImages, request, deadline=10)).images)

    async def remove(self, name: str) -> None:
        await call(self.stub.RemoveImage, cri.RemoveImageRequest(image=spec(name)), deadline=10)

    async def used(self) -> tuple[int, int]:
        told = await call(self.stub.ImageFsInfo, cri.ImageFsInfoRequest(), deadline=10)
        (usage,) = told.image_filesystems
        return usage.used_bytes.value, usage.inodes_used.value


def spec(name: str) -> cri.ImageSpec:
    return cri.ImageSpec(image=name)


@asynccontextmanager
async def empty_agent(folder: Path, *pinned: str) -> AsyncGenerator[tuple[Client, Keeper]]:
    """An agent that has no image yet."""
    with tempfile.TemporaryDirectory(prefix="runtime-images-") as root:
        async with running_agent(Path(root), "", folder, pinned=pinned) as client:
            yield client, Keeper(client, Path(root))


async def pushed(registry: str, name: str, *more: bytes) -> Pushed:
    """An image of the common base and one layer with a file for each content."""
    own = [layer({f"own-{number}": content}) for number, content in enumerate(more)]
    return await push_image(registry, name, [busybox(), *own], {"Cmd": ["sleep", "100"], "Labels": {"n": name}})


async def test_an_image_has_one_id_in_every_answer_however_it_is_named(tmp_path: Path) -> None:
    async with running_registry() as registry, running_registry() as second, empty_agent(tmp_path) as (client, keeper):
        one = await pushed(registry, "garden/beans:1", b"beans")
        assert (await pushed(second, "other/beans:new", b"beans")).id != one.id
        same = await push_image(
            second, "other/beans:1", one.layers, {"Cmd": ["sleep", "100"], "Labels": {"n": "garden/beans:1"}}
        )
        assert same.id == one.id
        assert await keeper.pull(one.name) == await keeper.pull(one.name) == one.id
        digests = [f"{registry}/garden/beans@{one.digest}"]
        assert await keeper.pull(digests[0]) == one.id
        # The same image of another registry is another name of it.
        assert await keeper.pull(same.name) == one.id
        digests.append(f"{second}/other/beans@{same.digest}")
        (known,) = await keeper.listed()
        assert (known.id, list(known.repo_tags), list(known.repo_digests)) == (one.id, [one.name, same.name], digests)

        for number, name in enumerate((one.name, same.name, *digests, one.id, one.id[7:], one.id[7:19])):
            assert await keeper.status(name) == known
            assert await keeper.listed(name) == [known]
            sandbox = await client.sandbox()
            container = await client.create(sandbox, name=f"c{number}", image=spec(name))
            status = await client.status(container)
            assert (status.image_id, status.image_ref, status.image.image) == (one.id, digests[0], name)
            wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(id=container))
            (listed,) = (await call(client.stub.ListContainers, wanted, deadline=5)).containers
            assert (listed.image_id, listed.image_ref, listed.image.image) == (one.id, digests[0], name)
        # Whichever name it is removed by, it goes with all of them.
        await keeper.remove(digests[1])
        assert await keeper.listed() == []
        assert await keeper.status(one.name) is None


async def test_an_image_that_is_removed_in_use_serves_its_container_to_the_end_and_is_gone_then(tmp_path: Path) -> None:
    async with running_registry() as registry, empty_agent(tmp_path) as (client, keeper):
        used, beside = await pushed(registry, "used:1", b"used" * 1000), await pushed(registry, "beside:1", b"beside")
        fresh = await pushed(registry, "fresh:1", b"fresh")
        for image in (used, beside):
            await keeper.pull(image.name)
        before = keeper.layers()
        container = await client.run("sleep", "100", image=spec(used.name))
        async with asyncio.TaskGroup() as tasks:
            pulls = [tasks.create_task(keeper.pull(fresh.name)) for _ in range(2)]
            for name in (used.name, used.id, beside.name, beside.id, "nowhere.test/unknown:1"):
                tasks.create_task(keeper.remove(name))
        assert {one.result() for one in pulls} == {fresh.id}
        assert [one.id for one in await keeper.listed()] == [fresh.id]
        said = await client.exec(container, "sh", "-c", "cat /own-0 | wc -c; head -n 1 /etc/passwd")
        assert said.stdout == b"4000\nroot:x:0:0:root:/root:/bin/sh\n"
        assert (await client.status(container)).image_id == used.id
        with pytest.raises(Fault) as caught:
            await client.create(await client.sandbox(), image=spec(used.name))
        assert caught.value.kind is Kind.NOT_FOUND
        # What only the other removed one needed goes; the base and the used one's own stay, beside the new one's.
        await until(lambda: len(keeper.layers()) == len(before))
        assert len(keeper.layers() - before) == 1
        await client.tidy()
        await until(lambda: len(keeper.layers()) == 2)
        bytes_used, inodes = await keeper.used()
        assert bytes_used > Path("/bin/busybox").stat().st_size
        assert inodes > 10
        again = await client.run("cat", "/own-0", image=spec(fresh.name))
        await client.exited(again)
        assert "fresh" in await client.log(again)
        await keeper.remove(fresh.id)
        await client.tidy()
        await until(lambda: not keeper.layers())
        assert await keeper.used() == (0, 0)


async def test_what_is_listed_while_others_pull_and_remove_can_be_run(tmp_path: Path) -> None:
    async with running_registry() as registry, empty_agent(tmp_path) as (client, keeper):
        images = [await pushed(registry, f"i{number}:1", b"own" + bytes([number])) for number in range(3)]

        async def churn(image: Pushed) -> None:
            for _ in range(4):
                assert await keeper.pull(image.name) == image.id
                await keeper.remove(image.name)
            await keeper.pull(image.name)

        async with asyncio.TaskGroup() as tasks:
            for image in images:
                for _ in range(2):
                    tasks.create_task(churn(image))
        assert {one.id for one in await keeper.listed()} == {one.id for one in images}
        for number, image in enumerate(images):
            container = await client.run("cat", "/own-0", image=spec(image.id))
            assert (await client.exited(container)).exit_code == 0
            assert f"own{chr(number)}" in await client.log(container)


async def test_a_pinned_image_is_told_to_be_so_and_others_are_not(tmp_path: Path) -> None:
    async with running_registry() as registry, empty_agent(tmp_path, f"{registry}/kept:1") as (_, keeper):
        kept, other = await pushed(registry, "kept:1", b"a"), await pushed(registry, "other:1", b"b")
        for image in (kept, other):
            await keeper.pull(image.name)
        assert {one.id: one.pinned for one in await keeper.listed()} == {kept.id: True, other.id: False}
        known = await keeper.status(kept.id)
        assert known is not None
        assert known.pinned


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)
