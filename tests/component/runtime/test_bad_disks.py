"""Disks that do not answer, are slow, or cannot be written hold up nobody but the container that wants them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from cellagent.kernel import mounts, slow_paths
from cellagent.runtime.stats import summary
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents


async def test_a_mount_whose_disk_is_dead_holds_up_its_own_container_only(
    agent: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, answers, look = str(tmp_path / "dead"), threading.Event(), slow_paths.place

    def place(path: str) -> Path:
        if path == dead:
            answers.wait()
        return look(path)

    monkeypatch.setattr(slow_paths, "place", place)
    monkeypatch.setattr(slow_paths, "SECONDS", 0.5)
    async with agent() as client:
        sandbox = await client.sandbox()
        mounts = [cri.Mount(host_path=dead, container_path="/data")]
        asked = [asyncio.create_task(client.create(sandbox, "true", mounts=mounts)) for _ in range(3)]
        listed = await call(client.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=5)
        assert [one.id for one in listed.items] == [sandbox]
        for late in asked:
            with pytest.raises(Fault, match="has not answered") as raised:
                await late
            assert raised.value.kind is Kind.TIMEOUT
            assert dead in str(raised.value)
        assert sum(thread.name == f"look at {dead}" for thread in threading.enumerate()) == 1
        answers.set()
        assert await client.create(sandbox, "true", mounts=mounts)


async def test_a_large_writable_layer_is_walked_beside_everything_else(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, walk = threading.Event(), summary.disk_usage

    def walked(folder: Path, ended: threading.Event) -> tuple[int, int]:
        answers.wait()
        return walk(folder, ended)

    monkeypatch.setattr(summary, "disk_usage", walked)
    monkeypatch.setattr(summary, "WALK_PATIENCE", 0.05)
    async with agent() as client:
        container = await client.run("sh", "-c", "echo x > /tmp/a; echo x > /tmp/b; sleep 100")

        async def entries() -> int:
            told = await call(client.stub.ListContainerStats, cri.ListContainerStatsRequest(), deadline=5)
            assert [one.attributes.id for one in told.stats] == [container]
            return told.stats[0].writable_layer.inodes_used.value

        assert await entries() == 0
        answers.set()
        async with asyncio.timeout(20):
            while await entries() < 2:
                await asyncio.sleep(0.05)


async def test_a_container_whose_log_cannot_be_written_could_not_be_started(agent: Agents, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with agent() as client:
        sandbox = await client.sandbox(client.sandbox_config(log_directory=str(tmp_path / "file" / "logs")))
        container = await client.create(sandbox, "sleep", "100")
        with pytest.raises(Fault, match="Not a directory"):
            await client.start(container)
        status = await client.status(container)
        assert (status.state, status.reason) == (cri.CONTAINER_EXITED, "StartError")
        assert "Not a directory" in status.message


async def test_a_container_for_which_there_is_no_room_is_refused_in_a_sentence_and_leaves_nothing(
    agent: Agents, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mounts.tmpfs(state, 4 << 20)
    try:
        async with agent() as client:
            sandbox = await client.sandbox()
            with (state / "full").open("wb", buffering=0) as full, suppress(OSError):
                while True:
                    full.write(bytes(4096))
            with pytest.raises(Fault, match="No space left on device") as raised:
                await client.create(sandbox, "true")
            assert raised.value.kind is Kind.BROKEN
            assert not list((state / "containers").iterdir())
            (state / "full").unlink()
            container = await client.create(sandbox, "sh", "-c", "exit 7")
            await client.start(container)
            assert (await client.exited(container)).exit_code == 7
    finally:
        mounts.unmount_below(state)
