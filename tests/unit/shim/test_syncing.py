"""Which volumes of a sandbox are kept in sync with the worker's, and what of them is sent."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.sandboxes.cell_client import OneCell
from controller.shim import syncing, volume_copy
from controller.shim.syncing import VolumeSync

PODS = "/var/lib/kubelet/pods"
UNUSED: Any = None


def test_a_volume_that_another_machine_serves_keeps_none_of_the_others_from_their_changes() -> None:
    kinds = ("kubernetes.io~nfs/data", "kubernetes.io~configmap/settings")
    mounts = [cri.Mount(host_path=f"{PODS}/u1/volumes/{kind}", container_path=f"/{kind}") for kind in kinds]
    record: Any = SimpleNamespace(status=cri.ContainerStatus(mounts=mounts).SerializeToString())
    memory: Any = SimpleNamespace(containers_of=lambda _: [record])
    sandbox: Any = SimpleNamespace(id="s", uid="u1")
    assert list(VolumeSync(UNUSED, memory, UNUSED, PODS)._wanted(sandbox)) == [f"{PODS}/u1/volumes/{kinds[1]}"]


def written(volume: Path, generation: str, content: str) -> None:
    """A generation of a kubelet's volume, which is the current one from now on."""
    (volume / generation).mkdir(parents=True)
    (volume / generation / "key").write_text(content)
    (volume / "..data_tmp").symlink_to(generation)
    (volume / "..data_tmp").rename(volume / "..data")


def test_a_generation_that_a_kubelet_writes_or_takes_away_is_not_sent(tmp_path: Path) -> None:
    written(tmp_path, "..2026_1", "one")
    written(tmp_path, "..2026_2", "two")
    (tmp_path / "key").symlink_to("..data/key")
    (tmp_path / "..2026_1/key").unlink()
    (tmp_path / "..2026_3").mkdir()
    sent = {message.entry.path for message in volume_copy.snapshot(tmp_path) if message.HasField("entry")}
    assert sent == {".", "..data", "..2026_2", "..2026_2/key", "key"}


async def test_what_is_newer_of_a_volume_arrives_after_what_is_older(tmp_path: Path) -> None:
    written(tmp_path, "..2026_1", "one")
    said: list[str] = []
    begun, slow = asyncio.Event(), asyncio.Event()

    async def put_files(_: object, messages: Any) -> None:
        content = b"".join(message.data for message in messages).decode()
        said.append(f"{content} begins")
        if not begun.is_set():
            begun.set()
            await slow.wait()
        said.append(f"{content} arrived")

    there: Any = SimpleNamespace(put_files=put_files)
    sync = VolumeSync(UNUSED, UNUSED, UNUSED, PODS)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sync.put("s", there, str(tmp_path), "/on/cell"))
        await begun.wait()
        written(tmp_path, "..2026_2", "two")
        tasks.create_task(sync.put("s", there, str(tmp_path), "/on/cell"))
        for _ in range(20):  # by now it would have read the volume, and begun
            await asyncio.to_thread(os.getpid)
        slow.set()
    assert said == ["one begins", "one arrived", "two begins", "two arrived"]


async def test_a_volume_that_the_kubelet_has_not_written_takes_nothing_away(tmp_path: Path) -> None:
    sync = VolumeSync(UNUSED, UNUSED, UNUSED, PODS)
    with pytest.raises(Fault, match="the kubelet has not written it") as told:
        await sync.put("s", UNUSED, str(tmp_path), "/on/cell")
    assert told.value.kind is Kind.UNAVAILABLE


async def test_a_volume_that_cannot_be_sent_keeps_none_of_the_others_from_their_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = [tmp_path / name for name in ("bare", "gone", "token")]
    volumes[0].mkdir()
    written(volumes[2], "..2026_1", "token")
    sent: list[str] = []

    async def put_files(_: object, start: Any, __: object) -> None:
        sent.append(start.folder)

    monkeypatch.setattr(OneCell, "put_files", put_files)
    sync = VolumeSync(UNUSED, UNUSED, UNUSED, PODS)
    sandbox: Any = SimpleNamespace(id="s", cell="i-1")
    wanted = {str(volume): f"/on/cell/{volume.name}" for volume in volumes}
    with structlog.testing.capture_logs() as told:
        assert await sync._all(sandbox, wanted) == syncing.RETRY
        assert await sync._all(sandbox, wanted) == syncing.RETRY
    assert sent == ["/on/cell/token"]
    assert len([one for one in told if one["log_level"] == "warning"]) == 1, "the same is told once"


async def test_a_volume_that_the_kubelet_has_mounted_anew_is_watched_there(tmp_path: Path) -> None:
    volume, looked = tmp_path / "pods/u1/volumes/kubernetes.io~configmap/settings", asyncio.Event()
    volume.mkdir(parents=True)
    record: Any = SimpleNamespace(
        status=cri.ContainerStatus(mounts=[cri.Mount(host_path=str(volume), container_path="/v")]).SerializeToString()
    )
    memory: Any = SimpleNamespace(containers_of=lambda _: [record])
    watched: list[int] = []

    def watch(path: Path, *_: object) -> Any:
        watched.append(path.stat().st_ino)
        looked.set()
        return lambda: None

    inotify: Any = SimpleNamespace(watch=watch)
    sync = VolumeSync(UNUSED, memory, inotify, str(tmp_path / "pods"))
    sandbox: Any = SimpleNamespace(id="s", uid="u1", cell="i-1")
    keeping = asyncio.create_task(sync.keep(sandbox))
    await looked.wait()
    looked.clear()
    volume.rename(volume.with_name("below"))
    volume.mkdir()
    sync.look("s")
    async with asyncio.timeout(30):
        await looked.wait()
    keeping.cancel()
    assert watched == [volume.with_name("below").stat().st_ino, volume.stat().st_ino]


def test_a_folder_of_a_volume_that_cannot_be_read_is_not_sent_as_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "..2026_1", "one")
    scandir = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("..2026_1"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(Fault, match="could not be read"):
        volume_copy.snapshot(tmp_path, written=True)


def test_a_new_key_is_seen_also_where_the_kernel_stamps_it_as_the_one_before(tmp_path: Path) -> None:
    written(tmp_path, "..2026_1", "one")
    before = volume_copy.mark(tmp_path)
    (tmp_path / "key").symlink_to("..data/key")
    assert volume_copy.mark(tmp_path)._replace(found=before.found) != before
