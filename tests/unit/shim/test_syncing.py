"""Which volumes of a sandbox are kept in sync with the worker's, and what of them is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.shim import volume_copy
from controller.shim.syncing import VolumeSync

PODS = "/var/lib/kubelet/pods"


def test_a_volume_that_another_machine_serves_keeps_none_of_the_others_from_their_changes() -> None:
    kinds = ("kubernetes.io~nfs/data", "kubernetes.io~configmap/settings")
    mounts = [cri.Mount(host_path=f"{PODS}/u1/volumes/{kind}", container_path=f"/{kind}") for kind in kinds]
    record: Any = SimpleNamespace(status=cri.ContainerStatus(mounts=mounts).SerializeToString())
    memory: Any = SimpleNamespace(containers_of=lambda _: [record])
    unused: Any = None
    sandbox: Any = SimpleNamespace(id="s", uid="u1")
    assert list(VolumeSync(unused, memory, unused, PODS)._wanted(sandbox)) == [f"{PODS}/u1/volumes/{kinds[1]}"]


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
    came: list[str] = []
    begun, slow = asyncio.Event(), asyncio.Event()

    async def put_files(_: object, messages: Any) -> None:
        if not begun.is_set():
            begun.set()
            await slow.wait()
        came.append(b"".join(message.data for message in messages).decode())

    there: Any = SimpleNamespace(put_files=put_files)
    unused: Any = None
    sync = VolumeSync(unused, unused, unused, PODS)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sync.put("s", there, str(tmp_path), "/on/cell"))
        await begun.wait()
        written(tmp_path, "..2026_2", "two")
        tasks.create_task(sync.put("s", there, str(tmp_path), "/on/cell"))
        await asyncio.sleep(0.05)
        assert came == []
        slow.set()
    assert came == ["one", "two"]
