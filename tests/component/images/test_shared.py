"""Layers that machines share: brought by a process of their own, read by rooms that still ask the registry."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cellagent.images import layers as stacks
from cellagent.images import shared
from cellagent.images.manifest import Descriptor
from cellagent.images.messages import Credentials, LayerReady, PullDelayed, PullProgress
from cellagent.images.room import ImageSettings, running
from cellagent.images.shared import SharedLayers, name_of
from cellwire.faults import Fault, Kind
from tests.support.oci import LayerEntry, Pushed, folder, layer, push_image
from tests.support.registry import PASSWORD, USER, running_registry
from tests.support.waiting import until

NOBODY, OWN = Credentials(), Credentials(username=USER, password=PASSWORD)
BASE = layer({"etc": folder(0o750, 3, 4), "etc/hosts": b"hello", "gone": b"x"})
TOP = layer({"etc/name": LayerEntry(content=b"changed"), ".wh.gone": b""})


async def share(image: str, into: Path, **more: str | int) -> dict[str, Any]:
    """Run the process as the local cloud does."""
    # As a local cloud that names the registry of these tests, which is on this machine.
    named = [{"host": image.partition("/")[0], "plain_http": True}]
    request = {
        "image": image, "layers": f"{into}/layers", "work": f"{into}/work", "room": 1 << 30, "registries": named, **more
    }  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cellagent.images.share", stdin=pipe, stdout=pipe, env=environment
    )
    said, _ = await process.communicate(json.dumps(request).encode())
    return json.loads(said)


def settings(root: Path, into: Path) -> ImageSettings:
    return ImageSettings(root=root, shared=into / "layers")


def lose_layers(registry: Path, pushed: Pushed) -> None:
    """Who still needs a layer of it fails from now on."""
    for one in pushed.layers:
        (data,) = registry.rglob(f"{one.digest.removeprefix('sha256:')}/data")
        data.unlink()


async def test_what_is_shared_is_not_fetched_and_lies_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    async with running_registry(folder=tmp_path / "registry") as registry:
        pushed = await push_image(registry, "web:1", [BASE, TOP])
        assert (await share(pushed.name, tmp_path / "s"))["image_id"] == pushed.id
        lose_layers(tmp_path / "registry", pushed)
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            image = await room.puller.pull(pushed.name, NOBODY)
            assert image.id == pushed.id
            assert {path.parent for path in image.layers} == {tmp_path / "s/layers"}
            top, base = image.layers
            assert (base / "etc/hosts").read_bytes() == b"hello"
            # As of the layer below, which alone says what the folder is like.
            assert ((top / "etc").stat().st_mode & 0o777, (top / "etc").stat().st_uid) == (0o750, 3)
            assert room.store.usage() == (0, 0)
            room.store.remove(pushed.name)
            room.store.garbage(float("inf"))
            assert (base / "etc/hosts").exists()


async def test_a_room_finds_its_shared_images_again_and_forgets_those_whose_layers_are_gone(tmp_path: Path) -> None:
    async with running_registry() as registry:
        pushed = await push_image(registry, "web:1", [BASE])
        await share(pushed.name, tmp_path / "s")
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            await room.puller.pull(pushed.name, NOBODY)
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            assert room.store.find(pushed.name).id == pushed.id
        async with running(ImageSettings(root=tmp_path / "room")) as room:
            with pytest.raises(Fault) as refused:
                room.store.find(pushed.name)
            assert refused.value.kind is Kind.NOT_FOUND


async def test_a_shared_layer_helps_nobody_whom_the_registry_refuses(tmp_path: Path) -> None:
    async with running_registry("basic") as registry:
        pushed = await push_image(registry, "web:1", [BASE], auth="basic")
        assert (await share(pushed.name, tmp_path / "s"))["fault"]
        assert (await share(pushed.name, tmp_path / "s", username=USER, password=PASSWORD))["image_id"] == pushed.id
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            with pytest.raises(Fault) as refused:
                await room.puller.pull(pushed.name, NOBODY)
            assert refused.value.kind is Kind.DENIED
            assert (await room.puller.pull(pushed.name, OWN)).id == pushed.id


async def test_only_what_is_missing_is_fetched_onto_shared_layers_below(tmp_path: Path) -> None:
    async with running_registry() as registry:
        below = await push_image(registry, "base:1", [BASE])
        await share(below.name, tmp_path / "s")
        pushed = await push_image(registry, "web:1", [BASE, TOP])
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            top, base = (await room.puller.pull(pushed.name, NOBODY)).layers
            assert base.parent == tmp_path / "s/layers"
            assert top.parent == tmp_path / "room/layers"
            assert (top / "etc").stat().st_uid == 3


async def goes_on(brings: SharedLayers) -> None:
    while True:
        brings.go_on()
        await asyncio.sleep(0.2)


async def test_a_layer_on_its_way_is_waited_for_and_fetched_where_it_does_not_come(tmp_path: Path) -> None:
    layers = tmp_path / "s/layers"
    layers.mkdir(parents=True)
    async with running_registry() as registry:
        pushed = await push_image(registry, "web:1", [BASE])
        brings = SharedLayers(str(layers), repository=pushed.name.rpartition(":")[0], room=1 << 30)
        brings.announce([BASE.diff_id])
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room, asyncio.TaskGroup() as tasks:
            alive = tasks.create_task(goes_on(brings))
            pulling = tasks.create_task(room.puller.pull(pushed.name, NOBODY))
            # One that brings it as well waits for nobody: it is there when it ends, and so the first that waits has it.
            assert (await share(pushed.name, tmp_path / "s"))["image_id"] == pushed.id
            assert (await pulling).layers == (layers / name_of(BASE.diff_id),)
            alive.cancel()
        brings.close()

        brings.announce([TOP.diff_id])
        brings.close()  # as by the end of its process
        other = await push_image(registry, "other:1", [TOP])
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            (own,) = (await room.puller.pull(other.name, NOBODY)).layers
            assert own.parent == tmp_path / "room/layers"


async def test_a_layer_is_waited_for_only_where_it_comes_from_the_same_repository(tmp_path: Path) -> None:
    layers = tmp_path / "s/layers"
    layers.mkdir(parents=True)
    async with running_registry() as registry:
        pushed = await push_image(registry, "web:1", [BASE])
        promised = SharedLayers(str(layers), repository="evil.test/web", room=1 << 30)
        promised.announce([BASE.diff_id])  # and is slow for ever
        async with running(settings(tmp_path / "room", tmp_path / "s")) as room:
            (own,) = (await room.puller.pull(pushed.name, NOBODY)).layers
            assert own.parent == tmp_path / "room/layers"
        promised.close()
    assert not list(layers.iterdir())


async def test_layers_that_have_no_room_together_are_not_shared_and_leave_nothing(tmp_path: Path) -> None:
    big = [layer({f"{name}{number}": b"x" for number in range(200)}) for name in ("a", "b", "c")]
    async with running_registry() as registry:
        pushed = await push_image(registry, "web:1", big)
        reply = await share(pushed.name, tmp_path / "s", room=500 * 4096)
        assert "larger than the 1 MiB" in reply["fault"]
        assert len([path for path in (tmp_path / "s/layers").iterdir() if path.is_dir()]) <= 2
        assert not list((tmp_path / "s/work").iterdir())
        assert (await share(pushed.name, tmp_path / "s", room=800 * 4096))["image_id"] == pushed.id


async def test_who_waits_for_a_layer_that_makes_no_progress_is_told_so_and_asks_the_registry_itself(
    tmp_path: Path,
) -> None:
    layers = tmp_path / "s/layers"
    layers.mkdir(parents=True)
    told = asyncio.Queue[PullProgress | PullDelayed]()
    async with running_registry() as registry:
        pushed = await push_image(registry, "web:1", [BASE])
        stands_still = SharedLayers(str(layers), repository=pushed.name.rpartition(":")[0], room=1 << 30)
        stands_still.announce([BASE.diff_id])
        async with running(settings(tmp_path / "room", tmp_path / "s"), told.put_nowait) as room:
            (own,) = (await room.puller.pull(pushed.name, NOBODY)).layers
            assert own.parent == tmp_path / "room/layers"
        stands_still.close()
    said = [told.get_nowait() for _ in range(told.qsize())]
    causes = [each.why.partition(" (")[0] for each in said if isinstance(each, PullDelayed)]
    assert set(causes) == {"its layers are on their way to all cells of this machine"}


class _Drips:
    """A registry that sends a layer byte by byte until it is to send the rest; and who hears of it."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.rest = asyncio.Event()

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes]:
        for at in range(len(self._blob)):
            if self.rest.is_set():
                yield self._blob[at:]
                return
            yield self._blob[at : at + 1]
            await asyncio.sleep(0.2)

    def arrived(self, count: int) -> None:
        pass

    def held(self, why: str) -> AbstractContextManager[None]:
        return nullcontext()

    def fetching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def ready(self, layer: LayerReady) -> None:
        shared.put(Path(layer.folder).parent.parent / "layers", layer)


async def test_who_waits_for_a_layer_sees_that_it_makes_progress(tmp_path: Path) -> None:
    for name in ("layers", "work"):
        (tmp_path / name).mkdir()
    source, moves = _Drips(TOP.blob), list[None]()

    def moved() -> None:
        moves.append(None)
        if len(moves) == 3:
            source.rest.set()

    brings, waits = SharedLayers(str(tmp_path / "layers"), room=1 << 30), SharedLayers(str(tmp_path / "layers"))
    stack = stacks.Stack(
        [Descriptor(TOP.media_type, TOP.digest, len(TOP.blob))],
        [TOP.diff_id],
        present={},
        work=str(tmp_path / "work"),
        listener=source,
        shared=brings,
    )
    async with asyncio.TaskGroup() as group:
        bringing = group.create_task(stack.fetch(source))
        await until(lambda: list((tmp_path / "layers").iterdir()))
        found = await waits.waited_for(TOP.diff_id, moved)
        await bringing
    assert found is not None
    assert len(moves) >= 3
