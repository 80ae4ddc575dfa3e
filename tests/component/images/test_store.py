"""The store over restarts, and CRI's ImageService over a socket before a real registry."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from cellagent.images.manifest import chain_ids, digest_of
from cellagent.images.messages import LayerReady, Pulled
from cellagent.images.reference import parse
from cellagent.images.room import ImageSettings, running
from cellagent.images.store import SPARE_SECONDS, ImageStore
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceStub
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from tests.support.files import names
from tests.support.oci import layer, push_image
from tests.support.registry import PASSWORD, USER, running_registry
from tests.support.waiting import until

BASE, TOP, OTHER = (digest_of(text) for text in (b"base", b"top", b"other"))


def stored(store: ImageStore, name: str, *diff_ids: str, user: str = "") -> str:
    """An image of layers with one small file each, as a pull would bring it; its id."""
    work = store.work_folder()
    chain = chain_ids(diff_ids)
    for chain_id, diff_id in zip(chain, diff_ids, strict=True):
        if chain_id not in store.present():
            folder = work / chain_id[7:]
            folder.mkdir()
            (folder / "file").write_text(diff_id)
            ready = LayerReady(
                chain_id=chain_id, diff_id=diff_id, digest=diff_id, folder=str(folder), size=1, unpacked=2, entries=1
            )
            store.adopt(ready, 0.0)
    work.rmdir()
    config = json.dumps({"config": {"User": user, "Labels": {"n": name}}, "rootfs": {"diff_ids": diff_ids}}).encode()
    pulled = Pulled(
        top_digest=digest_of(name.encode()), manifest=b"{}", config=config, config_digest=digest_of(config), chain=chain
    )
    return store.add(parse(name), pulled).id


async def test_holds_keep_layers_over_removal_and_restart_and_let_go_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    first = stored(store, "a:1", BASE, TOP)
    stored(store, "b:1", BASE, OTHER)
    layers = store.find(first).layers
    store.hold(first, "container-1")
    store.hold(first[7:20], "container-1")
    store.remove("a:1")
    assert store.garbage(0) == []
    store = ImageStore(tmp_path)
    assert store.garbage(0) == []
    assert all(folder.is_dir() for folder in layers)
    with pytest.raises(Fault):
        store.find(first)
    store.release("container-1")
    store.release("container-1")
    store.release("nobody")
    assert len(store.garbage(0)) == 1
    # The base is the other image's as well.
    assert [folder.is_dir() for folder in layers] == [False, True]
    assert store.find("b:1").layers[1] == layers[1]


async def test_holders_that_are_no_file_names_and_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image = stored(store, "a:1", BASE)
    for holder in ("", "../x", ".hidden"):
        with pytest.raises(Fault):
            store.hold(image, holder)
    with pytest.raises(Fault) as caught:
        store.hold("b:1", "c")
    assert caught.value.kind is Kind.NOT_FOUND


async def test_images_are_removed_though_the_disk_hides_what_else_lies_there(tmp_path: Path) -> None:
    async with running(ImageSettings(root=tmp_path)) as room:
        stored(room.store, "a:1", BASE)
        (tmp_path / "blobs").rename(tmp_path / "elsewhere")
        room.store.remove("a:1")
        await until(lambda: not room.store.present())


async def test_after_a_crash_of_the_machine_only_settled_layers_are_trusted(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, boot_id="one")
    stored(store, "a:1", BASE)
    store.settle(store.unsettled())
    stored(store, "b:1", BASE, TOP)
    store = ImageStore(tmp_path, boot_id="two")
    assert [image.tags for image in store.images()] == [("docker.io/library/a:1",)]
    assert len(names(tmp_path / "layers")) == 1
    assert len(store.rubbish()) == 1


async def test_a_torn_index_and_unknown_folders_are_not_trusted(tmp_path: Path) -> None:
    stored(ImageStore(tmp_path), "a:1", BASE)
    (tmp_path / "index.json").write_bytes(b'{"images": ["\xff')
    (tmp_path / "work" / "pull-1-1").mkdir()
    store = ImageStore(tmp_path)
    assert not store.images()
    assert names(tmp_path / "layers") == []
    assert len(store.rubbish()) == 2


async def test_what_an_interrupted_pull_left_does_not_hinder_the_next_life_of_the_same_process_id(
    tmp_path: Path,
) -> None:
    for life in range(3):
        store = ImageStore(tmp_path)
        assert len(store.rubbish()) == 2 * life
        (store.work_folder() / "half").touch()
        stored(store, "a:1", BASE)
        store.remove("a:1")
        assert store.garbage(SPARE_SECONDS)


async def test_layers_of_a_failed_pull_wait_for_the_next_and_not_for_ever(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    folder = store.work_folder()
    ready = LayerReady(chain_id=BASE, diff_id=BASE, digest=BASE, folder=str(folder), size=1, unpacked=2, entries=1)
    store.adopt(ready, 100.0)
    assert store.garbage(101.0) == []
    assert store.present().keys() == {BASE}
    assert len(store.garbage(100.0 + SPARE_SECONDS)) == 1


@pytest.mark.parametrize("bad", ["", "work", "layers", "index.json/file"])
async def test_an_image_folder_that_cannot_be_used_is_named_with_its_cause(tmp_path: Path, bad: str) -> None:
    root = tmp_path / "images"
    (root / bad).parent.mkdir(parents=True, exist_ok=True)
    (root / bad).touch()
    with pytest.raises(Fault, match=f"image folder {root}: .*; mend its disk") as caught:
        async with running(ImageSettings(root=root)):
            pass
    assert caught.value.kind is Kind.BROKEN


async def test_an_ambiguous_prefix_finds_nothing_and_a_name_goes_before_a_prefix(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, pinned=["abc:1"])
    ids = [stored(store, f"i{n}:1", BASE) for n in range(40)]
    firsts = [i[7] for i in ids]
    twice = next(c for c in firsts if (firsts.count(c) > 1 and c.isdigit()) or firsts.count(c) > 1)
    with pytest.raises(Fault):
        store.find(twice)
    named = stored(store, f"{ids[0][7:19]}:latest", TOP)
    assert store.find(ids[0][7:19]).id == named
    assert store.find(ids[0][7:20]).id == ids[0]
    assert not store.find(named).pinned
    assert store.find(stored(store, "abc:1", TOP)).pinned


@asynccontextmanager
async def image_service(root: Path) -> AsyncGenerator[ImageServiceStub]:
    async with running(ImageSettings(root=root / "images")) as room:
        server = Server([room.service])
        await server.start(path=str(root / "s"))
        channel = MendedChannel(CELL, path=str(root / "s"))
        try:
            yield ImageServiceStub(channel)
        finally:
            channel.close()
            server.close()
            await server.wait_closed()


def spec(name: str) -> cri.ImageSpec:
    return cri.ImageSpec(image=name)


async def test_the_image_service_speaks_cri(tmp_path: Path) -> None:
    async with running_registry("basic") as registry, image_service(tmp_path) as stub:
        auth = cri.AuthConfig(username=USER, password=PASSWORD)
        one = await push_image(registry, "a:1", [layer({"x": b"1" * 5000})], {"User": "1002"}, auth="basic")
        await push_image(registry, "a:2", [layer({"x": b"1" * 5000})], {"User": "1002"}, auth="basic")
        named = await push_image(registry, "n:1", [layer({"x": b"1" * 5000})], {"User": "www-data:5"}, auth="basic")
        for name in (one.name, f"{registry}/a:2", named.name):
            reply = await stub.PullImage(cri.PullImageRequest(image=spec(name), auth=auth))
        assert reply.image_ref == named.id
        listed = (await stub.ListImages(cri.ListImagesRequest())).images
        streamed = [image for reply in await stub.StreamImages(cri.StreamImagesRequest()) for image in reply.images]
        assert list(listed) == streamed
        assert {image.id for image in listed} == {one.id, named.id}
        filtered = await stub.ListImages(cri.ListImagesRequest(filter=cri.ImageFilter(image=spec(one.name))))
        assert list(filtered.images[0].repo_tags) == [one.name, f"{registry}/a:2"]
        status = await stub.ImageStatus(cri.ImageStatusRequest(image=spec(one.id), verbose=True))
        assert (status.image.uid.value, status.image.username) == (1002, "")
        assert status.image.size == 5000
        assert json.loads(status.info["info"])["imageSpec"]["config"] == {"User": "1002"}
        status = await stub.ImageStatus(cri.ImageStatusRequest(image=spec(named.name)))
        assert (status.image.HasField("uid"), status.image.username) == (False, "www-data")
        usage = (await stub.ImageFsInfo(cri.ImageFsInfoRequest())).image_filesystems[0]
        assert usage.fs_id.mountpoint == str(tmp_path / "images")
        assert usage.used_bytes.value == 5000
        for _ in range(2):
            await stub.RemoveImage(cri.RemoveImageRequest(image=spec(one.id)))
        gone = await stub.ImageStatus(cri.ImageStatusRequest(image=spec(one.name)))
        assert not gone.HasField("image")


async def test_faults_reach_the_kubelet_as_statuses_with_a_sentence(tmp_path: Path) -> None:
    async with running_registry("basic") as registry, image_service(tmp_path) as stub:
        for name, status in ((f"{registry}/a:1", Status.PERMISSION_DENIED), ("UPPER CASE", Status.INVALID_ARGUMENT)):
            with pytest.raises(GRPCError) as caught:
                await stub.PullImage(cri.PullImageRequest(image=spec(name)))
            assert caught.value.status is status
            assert name in str(caught.value.message)
