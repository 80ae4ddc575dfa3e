"""Checkpoints of running containers: whole and restorable with a real criu, refused by name without one, and never at
the container's cost.

Where this machine's criu does not work with its kernel, a program that fails stands in for it, as it would fail there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cellagent.kernel import oci
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from hostkit import programs
from tests.component.runtime.conftest import Agents, Client

COUNT = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.1; done"


def runtime_can() -> bool:
    """Whether the OCI runtime that the agent takes knows criu."""
    taken = oci.detect()
    told = subprocess.run([str(taken.path), "--version"], capture_output=True, check=False).stdout
    return taken.name == "runc" or b"+CRIU" in told


def working() -> bool:
    """Whether criu knows this kernel, too."""
    criu = shutil.which("criu", path=programs.SEARCH_PATH)
    return criu is not None and not subprocess.run([criu, "check"], capture_output=True, check=False).returncode


KNOWN = os.geteuid() == 0 and runtime_can()
WORKING = KNOWN and working()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in criu's place, which the agent's programs find first; it fails at once."""
    if not KNOWN:
        pytest.skip("NOT RUN: the OCI runtime is not built with criu")
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "criu"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    path = f"{folder}:{programs.SEARCH_PATH}"
    monkeypatch.setattr(programs, "SEARCH_PATH", path)
    monkeypatch.setitem(programs.ENVIRONMENT, "PATH", path)
    return program


async def checkpoint(client: Client, container: str, location: Path | str, timeout: int = 0) -> None:
    asked = cri.CheckpointContainerRequest(container_id=container, location=str(location), timeout=timeout)
    await call(client.stub.CheckpointContainer, asked, deadline=30)


async def counted(client: Client, container: str) -> int:
    return int((await client.exec(container, "cat", "/tmp/n")).stdout or b"0")


async def require_running_on(client: Client, container: str) -> None:
    before = await counted(client, container)
    async with asyncio.timeout(10):
        while await counted(client, container) <= before:
            await asyncio.sleep(0.05)


@pytest.mark.skipif(not WORKING, reason="NOT RUN: no criu that works with this kernel and OCI runtime")
async def test_a_checkpoint_is_whole_and_its_container_runs_on_and_can_be_restored(
    agent: Agents, tmp_path: Path
) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", COUNT)
        script = "rm -rf /root; rm /etc/group; mkdir -p /var/x; echo kept > /var/x/f; echo shared > /dev/shm/s"
        assert (await client.exec(container, "sh", "-c", script)).exit_code == 0
        target = tmp_path / "checkpoint.tar"
        await checkpoint(client, container, target, timeout=30)
        await require_running_on(client, container)
        assert target.stat().st_mode & 0o777 == 0o600
        assert [one.name for one in tmp_path.iterdir() if "checkpoint" in one.name] == [target.name]
        assert not list((client.root / "checkpoints").iterdir())

        found = tmp_path / "found"
        with tarfile.open(target) as archive:
            archive.extractall(found, filter="fully_trusted")
        told = json.loads((found / "config.dump").read_text())
        assert (told["id"], told["name"], told["rootfsImageName"]) == (container, "main", client.image)
        assert json.loads((found / "deleted.files").read_text()) == ["/etc/group", "/root"]
        assert {"spec.dump", "status", "dump.log", "stats-dump", "devshm-checkpoint.tar"} <= {
            one.name for one in found.iterdir()
        }
        with tarfile.open(found / "rootfs-diff.tar") as diff:
            assert {"var/x/f", "tmp/n"} <= set(diff.getnames())

        before = await counted(client, container)
        await client.stop(container)
        assert 0 < await asyncio.to_thread(restored, client, found, tmp_path) <= before + 50


def restored(client: Client, found: Path, folder: Path) -> int:
    """The number to which a container counts that was made of an archive by the OCI runtime alone."""
    bundle, state = folder / "bundle", folder / "state"
    rootfs = bundle / "rootfs"
    (layer,) = [one for one in (client.root / "images" / "layers").iterdir() if (one / "bin/busybox").exists()]
    shutil.copytree(layer, rootfs, symlinks=True)
    subprocess.run(["tar", "-C", str(rootfs), "-xf", str(found / "rootfs-diff.tar")], check=True)
    spec: dict[str, Any] = json.loads((found / "spec.dump").read_text())
    spec["root"]["path"], spec["linux"]["cgroupsPath"] = str(rootfs), "/chinampa-restored"
    (bundle / "config.json").write_text(json.dumps(spec))
    (rootfs / "tmp/n").write_text("0")
    runtime = [str(oci.detect().path), "--root", str(state)]
    images = ["--bundle", str(bundle), "--image-path", str(found / "checkpoint"), "--work-path", str(folder / "w")]
    (folder / "w").mkdir()
    subprocess.run([*runtime, "restore", *images, "--tcp-established", "-d", "restored"], check=True)
    try:
        for _ in range(100):
            said = subprocess.run([*runtime, "exec", "restored", "cat", "/tmp/n"], capture_output=True, check=True)
            if number := int(said.stdout or b"0"):
                return number
        return 0
    finally:
        subprocess.run([*runtime, "delete", "-f", "restored"], check=True)


async def test_without_criu_a_checkpoint_is_refused_by_name(
    agent: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", COUNT)
        monkeypatch.setattr(programs, "SEARCH_PATH", str(tmp_path))
        with pytest.raises(Fault, match="criu is not installed") as refused:
            await checkpoint(client, container, tmp_path / "c.tar")
        assert refused.value.kind is Kind.UNSUPPORTED


async def test_a_criu_that_fails_costs_the_container_nothing(agent: Agents, tmp_path: Path, stand_in: Path) -> None:
    del stand_in
    async with agent() as client:
        container = await client.run("sh", "-c", COUNT)
        with pytest.raises(Fault, match=r"checkpoint of container main: .*the container runs on") as failed:
            await checkpoint(client, container, tmp_path / "c.tar")
        assert failed.value.kind is Kind.BROKEN
        await require_running_on(client, container)
        assert not [one for one in tmp_path.iterdir() if "c.tar" in one.name]


async def test_a_checkpoint_that_takes_too_long_is_told_and_leaves_nothing(
    agent: Agents, tmp_path: Path, stand_in: Path
) -> None:
    if oci.detect().name != "runc":
        pytest.skip("NOT RUN: crun asks criu's library before it asks the program that stands in for it")
    stand_in.write_text("#!/bin/sh\nsleep 2\nexit 1\n")
    async with agent() as client:
        container = await client.run("sh", "-c", COUNT)
        with pytest.raises(Fault, match="has not ended within 1 s") as late:
            await checkpoint(client, container, tmp_path / "c.tar", timeout=1)
        assert late.value.kind is Kind.TIMEOUT
        async with asyncio.timeout(10):
            while list((client.root / "checkpoints").iterdir()):
                await asyncio.sleep(0.05)
        assert not [one for one in tmp_path.iterdir() if "c.tar" in one.name]
        await require_running_on(client, container)


async def test_what_cannot_be_checkpointed_is_refused_in_a_sentence(
    agent: Agents, tmp_path: Path, stand_in: Path
) -> None:
    del stand_in
    async with agent() as client:
        container = await client.run("sh", "-c", COUNT)
        for location in ("", "checkpoint.tar", f"{tmp_path}/nowhere/c.tar", str(tmp_path), f"{tmp_path}/{'c' * 300}"):
            with pytest.raises(Fault, match="is no path of a file") as refused:
                await checkpoint(client, container, location)
            assert refused.value.kind is Kind.INVALID
        await client.stop(container)
        with pytest.raises(Fault, match="it is not running but") as refused:
            await checkpoint(client, container, tmp_path / "c.tar")
        assert refused.value.kind is Kind.PRECONDITION


async def test_what_a_killed_agent_left_of_a_checkpoint_is_removed(agent: Agents, tmp_path: Path) -> None:
    async with agent() as client:
        left, partial = client.root / "checkpoints" / "c1", tmp_path / ".c.tar.partial"
        left.mkdir(parents=True)
        (left / "target").write_text(str(partial))
        (left / "pages-1.img").write_text("memory")
        partial.write_text("half")
    async with agent():
        assert not partial.exists()
        assert not left.exists()
