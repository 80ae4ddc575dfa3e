"""A disk that is full: what frees space works, the agent lives on, and a start needs no free byte."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cellagent.images.messages import LayerReady
from cellagent.images.room import ImageSettings, running
from cellagent.images.store import SPARE_SECONDS, ImageStore, delete
from cellwire.faults import Fault
from tests.component.images.test_store import BASE, TOP, stored
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    """A disk of 4 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    """Leave no free byte."""
    with (disk / "full").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def weighty(store: ImageStore, name: str) -> list[Path]:
    """An image whose upper layer takes a MiB; its layers' folders."""
    layers = store.find(stored(store, name, BASE, TOP)).layers
    (layers[0] / "weight").write_bytes(bytes(1 << 20))
    return list(layers)


async def test_an_image_is_removed_from_a_full_disk_and_gives_its_space_back(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        async with running(ImageSettings(root=disk / "images")) as room:
            layers = weighty(room.store, "a:1")
            await until((disk / "images" / "reserve").exists)
            fill(disk)
            room.store.remove("a:1")
            await until(lambda: not any(layer.exists() for layer in layers))
            with pytest.raises(Fault):
                room.store.find("a:1")
            (disk / "more").write_bytes(bytes(1 << 19))
        assert not ImageStore(disk / "images").images()


async def test_a_start_needs_no_free_byte(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = ImageStore(disk / "images")
        kept, gone = stored(store, "kept:1", BASE), stored(store, "gone:1", BASE, TOP)
        fill(disk)
        store.remove("gone:1")  # without a reserve this cannot be written down
        store.garbage(0)
        assert not store.saved
        again = ImageStore(disk / "images")
        assert again.find("kept:1").id == kept
        assert gone not in {image.id for image in again.images()}


async def test_what_could_not_be_written_down_is_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellagent.images.room.RETRY_SECONDS", 0.05)
    with small_disk(tmp_path) as disk:
        async with running(ImageSettings(root=disk / "images")) as room:
            weighty(room.store, "a:1")
            await until((disk / "images" / "reserve").exists)
            fill(disk)
            (disk / "images" / "reserve").unlink()
            fill(disk)
            room.store.save_if_possible()
            room.store.freed()
            await asyncio.sleep(0.1)  # the keeper has looked and could not write either
            assert not room.store.saved
            (disk / "full").unlink()
            await until(lambda: room.store.saved)
        assert [image.tags for image in ImageStore(disk / "images").images()] == [("docker.io/library/a:1",)]


async def test_an_image_that_cannot_be_written_down_is_not_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = ImageStore(disk / "images")
        first = stored(store, "a:1", BASE)
        fill(disk)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            stored(store, "b:1", BASE)
        assert [image.id for image in store.images()] == [first]
        with pytest.raises(Fault, match="look at this machine's disk"):
            store.hold(first, "container")
        assert store.holders() == ()


async def test_a_layer_pulled_again_on_a_full_disk_is_not_trusted_for_what_it_was_before(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = ImageStore(disk / "images", boot_id="one")
        stored(store, "a:1", BASE)
        store.settle(store.unsettled())
        again = store.work_folder()
        fill(disk)
        store.remove("a:1")
        delete(store.garbage(SPARE_SECONDS))
        assert not store.saved
        ready = LayerReady(chain_id=BASE, diff_id=BASE, digest=BASE, folder=str(again), size=1, unpacked=2, entries=1)
        fill(disk)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            store.adopt(ready, 0.0)
        assert not ImageStore(disk / "images", boot_id="two").present()
        (disk / "full").unlink()
        store.adopt(ready, 0.0)
        assert not ImageStore(disk / "images", boot_id="three").present()
