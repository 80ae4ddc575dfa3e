"""Volumes at a distance, with a real cell: what the kubelet keeps on the worker is what the container sees."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from tests.support.shim import RunningShim, running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
SIZE = 20_000
# Reads both keys over and over; says a line for each read that was not one whole generation's file.
READER = (
    "cd /v; while :; do for k in a b; do n=$(wc -c < $k 2>&1); l=$(uniq $k 2>&1 | wc -l); "
    f'[ "$n" = {SIZE} ] && [ "$l" = 1 ] || echo "torn $k $n $l"; done; done'
)


async def until(shim: RunningShim, container: str, command: str, wanted: str, seconds: float = 20.0) -> None:
    said = ""
    for _ in range(int(seconds * 20)):
        said = await shim.said(container, command)
        if said == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{command} never said {wanted!r}; last: {said!r}")


def generation(letter: str) -> bytes:
    return (letter * 99 + "\n").encode() * (SIZE // 100)


async def test_an_update_reaches_the_container_whole_with_owner_and_mode(shim: RunningShim) -> None:
    settings, secret = shim.volume("updated", "configmap", "settings"), shim.volume("updated", "secret", "keys")
    settings.write({"colour": b"green", "old": b"x"})
    secret.write({"key": b"s1"}, mode=0o440, owner=(1001, 2002))
    mounts = [settings.mount("/settings"), secret.mount("/keys")]
    sandbox, container = await shim.pod(mounts=mounts, uid="updated")
    assert await shim.said(container, "cat /settings/colour /keys/key") == "greens1"
    assert await shim.said(container, "stat -L -c '%u %g %a' /keys/key") == "1001 2002 440\n"

    settings.write({"colour": b"blue", "new": b"y"})
    secret.write({"key": b"s2"}, mode=0o400, owner=(1001, 2002))
    await until(shim, container, "cat /settings/colour; ls /settings; cat /keys/key", "bluecolour\nnew\ns2")
    assert await shim.said(container, "stat -L -c '%u %g %a' /keys/key") == "1001 2002 400\n"
    # What was swapped out does not stay on the cell.
    await until(shim, container, "ls -A /settings | grep -c '^\\.\\.2026'", "1\n")
    await shim.remove(sandbox)


async def test_a_reader_in_the_container_never_sees_a_part_of_a_file_or_none(shim: RunningShim) -> None:
    volume = shim.volume("read", "configmap", "settings")
    volume.write({"a": generation("0"), "b": generation("0")})
    _, container = await shim.pod("sh", "-c", READER, mounts=[volume.mount("/v")], uid="read")
    for letter in "123456789":
        volume.write({"a": generation(letter), "b": generation(letter)})
        await until(shim, container, "head -c 1 /v/a; head -c 1 /v/b", letter * 2)
    log = shim.logs / "read/c/0.log"
    assert log.read_text() == ""


async def test_a_change_while_the_controller_was_dead_is_taken_up(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        volume = shim.volume("u1", "projected", "token")
        volume.write({"token": b"one"})
        _, container = await shim.pod(mounts=[volume.mount("/v")], uid="u1")
        await shim.controller.kill()
        volume.write({"token": b"two"})
        await shim.controller.start()
        shim.redial()
        await until(shim, container, "cat /v/token", "two")
        volume.write({"token": b"three"})
        await until(shim, container, "cat /v/token", "three")


async def test_a_container_that_starts_again_sees_what_is_there_now_and_its_pod_goes_on(shim: RunningShim) -> None:
    volume = shim.volume("again", "configmap", "settings")
    volume.write({"colour": b"green"})
    config = shim.config("again")
    sandbox = await shim.run(config)
    first = await shim.create(sandbox, config, mounts=[volume.mount("/v")])
    await shim.start(first)
    volume.write({"colour": b"blue"})
    second = await shim.create(sandbox, config, mounts=[volume.mount("/v")], attempt=1)
    await shim.start(second)
    assert await shim.said(second, "cat /v/colour") == "blue"
    await until(shim, first, "cat /v/colour", "blue")


async def test_sub_paths_and_empty_dirs_are_honoured(shim: RunningShim) -> None:
    settings = shim.volume("parts", "configmap", "settings")
    settings.write({"colour": b"green"})
    scratch = shim.volume("parts", "empty-dir", "scratch").folder
    (scratch / "part").mkdir()
    os.chown(scratch, 0, 3003)
    scratch.chmod(0o2770)
    bound = [shim.pods_folder / "parts/volume-subpaths" / part for part in ("settings/c/0", "scratch/c/1")]
    bound[0].parent.mkdir(parents=True)
    bound[0].touch()
    bound[1].mkdir(parents=True)
    try:
        for source, target in ((settings.folder / "colour", bound[0]), (scratch / "part", bound[1])):
            subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
        mounts = [
            cri.Mount(host_path=str(bound[0]), container_path="/etc/colour", readonly=True),
            cri.Mount(host_path=str(bound[1]), container_path="/part"),
            cri.Mount(host_path=str(scratch), container_path="/scratch"),
        ]
        _, container = await shim.pod(mounts=mounts, uid="parts")
    finally:
        for target in bound:
            subprocess.run(["umount", str(target)], check=False)
    assert await shim.said(container, "cat /etc/colour; echo x > /part/file; cat /scratch/part/file") == "greenx\n"
    assert await shim.said(container, "stat -c '%g %a' /scratch") == "3003 2770\n"


async def test_an_empty_dir_in_memory_is_in_the_memory_of_the_cell_within_its_size(shim: RunningShim) -> None:
    fast = shim.volume("fast", "empty-dir", "fast").folder
    bound = shim.pods_folder / "fast/volume-subpaths/fast/c/1"
    bound.mkdir(parents=True)
    try:
        # A kubelet mounts it on the worker, with the limit that it has found.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(fast)], check=True)
        os.chown(fast, 0, 3003)
        fast.chmod(0o2777)
        (fast / "part").mkdir()
        subprocess.run(["mount", "--bind", str(fast / "part"), str(bound)], check=True)
        mounts = [
            cri.Mount(host_path=str(fast), container_path="/fast"),
            cri.Mount(host_path=str(bound), container_path="/part"),
        ]
        config = shim.config("fast")
        sandbox = await shim.run(config)
        first = await shim.create(sandbox, config, mounts=mounts)
        await shim.start(first)
        assert await shim.said(first, "stat -f -c %T /fast; stat -c '%g %a' /fast") == "tmpfs\n3003 2777\n"
        assert await shim.said(first, "echo x > /part/file; cat /fast/part/file") == "x\n"
        fill = "dd if=/dev/zero of=/fast/full bs=64k count=32 2>/dev/null || stat -c %s /fast/full"
        assert int(await shim.said(first, fill)) <= 1 << 20
        run = "rm /fast/full; printf '#!/bin/sh\\necho ran' > /part/run; chmod +x /part/run; /part/run"
        assert await shim.said(first, run) == "ran\n"
        second = await shim.create(sandbox, config, mounts=mounts, attempt=1)
        await shim.start(second)
        assert await shim.said(second, "cat /fast/part/file") == "x\n"
    finally:
        for target in (bound, fast):
            subprocess.run(["umount", str(target)], check=False)


async def test_a_sub_path_of_a_host_path_is_the_cells_own(shim: RunningShim, tmp_path: Path) -> None:
    here = tmp_path / "data" / "part"
    here.mkdir(parents=True)
    (here / "file").write_text("the worker's")
    bound = shim.pods_folder / "own/volume-subpaths/host/c/0"
    bound.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(here), str(bound)], check=True)
    try:
        mounts = [
            cri.Mount(host_path=str(tmp_path / "data"), container_path="/data"),
            cri.Mount(host_path=str(bound), container_path="/part"),
        ]
        _, container = await shim.pod(mounts=mounts, uid="own")
        assert await shim.said(container, "ls -A /part; echo x > /part/own; cat /data/part/own") == "x\n"
        assert [one.name for one in here.iterdir()] == ["file"]
    finally:
        subprocess.run(["umount", str(bound)], check=False)


async def test_a_termination_message_comes_back(shim: RunningShim) -> None:
    message = shim.pods_folder / "ended/containers/c/0a1b2c3d"
    message.parent.mkdir(parents=True)
    message.touch(0o666)
    mount = cri.Mount(host_path=str(message), container_path="/dev/termination-log")
    _, container = await shim.pod("sh", "-c", "echo why > /dev/termination-log; exit 3", mounts=[mount], uid="ended")
    for _ in range(100):
        if (await shim.status(container)).state == cri.CONTAINER_EXITED:
            break
        await asyncio.sleep(0.05)
    assert (await shim.status(container)).exit_code == 3
    assert message.read_text() == "why\n"


async def test_what_cannot_be_honoured_is_refused_by_name(shim: RunningShim) -> None:
    disk = shim.volume("refused", "csi", "disk")
    large = shim.volume("refused", "projected", "large")
    large.write({"key": b"x" * (33 << 20)})
    config = shim.config("refused")
    sandbox = await shim.run(config)
    with pytest.raises(Fault, match=r"kubernetes\.io/csi") as refused:
        await shim.create(sandbox, config, mounts=[disk.mount("/v")])
    assert refused.value.kind is Kind.UNSUPPORTED
    with pytest.raises(Fault, match="more than 32 MiB"):
        await shim.create(sandbox, config, mounts=[large.mount("/v")])
