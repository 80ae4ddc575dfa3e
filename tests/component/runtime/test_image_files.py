"""What an image says beside its command: users in its own files, volumes, layers that are none."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cellagent.images import room as images
from cellagent.images.messages import Credentials
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from tests.component.runtime.conftest import Client, busybox, running_agent
from tests.support import oci
from tests.support.registry import running_registry

Entries = Mapping[str, bytes | oci.LayerEntry]
READ_ONLY = cri.LinuxContainerConfig(
    security_context=cri.LinuxContainerSecurityContext(
        readonly_rootfs=True, namespace_options=cri.NamespaceOption(pid=cri.CONTAINER)
    )
)


@asynccontextmanager
async def agent_with(
    folder: Path, entries: Entries | None, config: Mapping[str, Any] | None = None, base: oci.Layer | None = None
) -> AsyncGenerator[Client]:
    """An agent whose image is the common base with `entries` over it; of no layers where there are none."""
    with tempfile.TemporaryDirectory(prefix="runtime-image-") as root:
        Path(root).chmod(0o711)
        async with running_registry() as address:
            layers = [base or busybox(), oci.layer(entries)] if entries is not None else []
            await oci.push_image(address, "own:1", layers, {"Cmd": ["sleep", "100"], **(config or {})})
            async with images.running(images.ImageSettings(root=Path(root) / "images")) as room:
                await room.puller.pull(f"{address}/own:1", Credentials())
        async with running_agent(Path(root), f"{address}/own:1", folder) as client:
            yield client


async def said(client: Client, *command: str, **fields: Any) -> str:
    container = await client.run(*command, **fields)
    assert (await client.exited(container)).exit_code == 0, await client.log(container)
    found = ""
    for line in (await client.log(container)).splitlines():
        _, _, tag, text = line.split(" ", 3)
        found += text if tag == "P" else text + "\n"
    return found


LINKED: Entries = {
    "data": oci.folder(),
    "data/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:a:/data:/bin/sh\n",
    "data/group": b"root:x:0:\napp:x:1235:\nextra:x:77:app\n",
    "etc/passwd": oci.symlink("/data/passwd"),
    "etc/group": oci.symlink("../../../data/group"),
}


@pytest.mark.parametrize("user", ["app", "1234", "app:extra", "1234:77"])
async def test_users_are_found_in_files_that_are_links_within_the_image(tmp_path: Path, user: str) -> None:
    async with agent_with(tmp_path, LINKED, {"User": user}) as client:
        group = 77 if ":" in user else 1235
        assert await said(client, "sh", "-c", "id -u; id -g; id -G; echo $HOME") in {
            f"1234\n{group}\n{group} 77\n/data\n",
            f"1234\n{group}\n{group}\n/data\n",
        }
        container = await client.run("sleep", "100")
        held = (await client.status(container)).user.linux
        assert (held.uid, held.gid) == (1234, group)
        assert 77 in held.supplemental_groups


UNREADABLE: dict[str, Entries] = {
    "a loop of links": {"etc/group": oci.symlink("group")},
    "a folder": {"etc/group": oci.folder()},
    "a pipe": {"etc/group": oci.LayerEntry(b"6")},
    "too large": {"etc/group": oci.LayerEntry(content=b"#" * ((16 << 20) + 1))},
}


@pytest.mark.parametrize("entries", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_file_of_groups_that_cannot_be_read_is_told_and_not_taken_for_none(
    tmp_path: Path, entries: Entries
) -> None:
    async with agent_with(tmp_path, entries, {"User": "weaver"}) as client:
        with pytest.raises(Fault, match=r"/etc/group of the image: it cannot be read") as caught:
            await client.create(await client.sandbox())
        assert caught.value.kind is Kind.INVALID


VOLUMES: Entries = {
    "data": oci.folder(0o750, 5, 5),
    "data/db": oci.folder(0o2700, 1001, 1002),
    "data/db/seed": oci.LayerEntry(content=b"beans", mode=0o640, uid=1001, gid=1003),
    "data/db/twin": oci.hardlink("data/db/seed"),
    "data/db/deep": oci.folder(0o711),
    "data/db/deep/link": oci.symlink("/etc/passwd"),
    "run": oci.folder(),
    "var": oci.folder(),
    "var/run": oci.symlink("/run"),
    "empty": oci.folder(0o1777, 9, 9),
}
DECLARED = {"Volumes": {path: {} for path in ("/data/db/", "newvol/deep", "/var/run/own", "/empty", "/mine")}}


async def test_volumes_of_an_image_are_writable_and_hold_what_it_has_there(tmp_path: Path) -> None:
    async with agent_with(tmp_path, VOLUMES, DECLARED) as client:
        mine = tmp_path / "mine"
        mine.mkdir()
        fields: dict[str, Any] = {
            "linux": READ_ONLY, "mounts": [cri.Mount(container_path="/mine", host_path=str(mine), readonly=True)]
        }  # fmt: skip
        script = (
            "cd /data/db && cat seed twin deep/link | head -c 14; echo; ls -lnd . seed deep /newvol/deep /empty"
            " | while read mode n uid gid rest; do echo $mode $n $uid $gid; done;"
            " for at in /data/db /newvol/deep /run/own /empty; do echo more > $at/new && cat $at/new; done;"
            " echo over > seed; cat twin; touch /mine/x /data/x /x 2> /dev/null; ls /data /mine"
        )
        listed = await said(client, "sh", "-c", script + "; true", **fields)
        modes = ["drwx--S--- 3 1001 1002", "-rw-r----- 2 1001 1003", "drwx--x--x 2 0 0", "drwxr-xr-x 2 0 0"]
        rest = ["more"] * 4 + ["over", "/data:", "db", "", "/mine:"]
        lines = listed.splitlines()
        assert lines[0] == "beansbeansroot"
        assert sorted(lines[1:6]) == sorted([*modes, "drwxrwxrwt 2 9 9"])
        assert lines[6:] == rest
        # Each container has its own, and it goes with the container.
        assert await said(client, "cat", "/data/db/seed", **fields) == "beans"
        left = list((client.root / "containers").glob("*/volumes/*"))
        assert len(left) == 8
        await client.tidy()
        assert not list((client.root / "containers").iterdir())


async def test_a_volume_that_no_runtime_could_mount_is_an_error_that_names_it(tmp_path: Path) -> None:
    for path, entries in (("/", {}), ("/etc/passwd", {}), ("/loop", {"loop": oci.symlink("loop")})):
        async with agent_with(tmp_path / path.strip("/").replace("/", "-"), entries, {"Volumes": {path: {}}}) as client:
            with pytest.raises(Fault, match=f"volume {path} of the image") as caught:
                await client.create(await client.sandbox())
            assert caught.value.kind is Kind.INVALID


async def test_volumes_at_the_machines_own_mounts_leave_those_as_they_are(tmp_path: Path) -> None:
    declared = {"Volumes": {"/sys/fs/cgroup": {}, "/proc": {}, "/dev/shm": {}}}
    async with agent_with(tmp_path, {}, declared) as client:
        assert (
            await said(client, "sh", "-c", "head -c 4 /proc/self/mounts > /dev/null; echo x > /dev/shm/x; echo ok")
            == "ok\n"
        )


async def test_an_image_of_no_layers_runs_with_mounts_and_is_an_empty_volume_of_others(tmp_path: Path) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (static / "busybox").chmod(0o755)
    async with agent_with(tmp_path, None) as client:
        bind = cri.Mount(container_path="/tools", host_path=str(static), readonly=True)
        volume = cri.Mount(container_path="/volume", image=cri.ImageSpec(image=client.image), readonly=True)
        script = (
            "echo hi > /own && /tools/busybox cat /own; /tools/busybox ls -a /volume; ! touch /volume/x 2> /dev/null"
        )
        listed = await said(client, "/tools/busybox", "sh", "-c", script, mounts=[bind, volume])
        assert listed == "hi\n.\n..\n"


async def test_a_working_folder_is_made_and_a_variable_without_value_is_not_set(tmp_path: Path) -> None:
    config = {"WorkingDir": "/not/there", "Env": ["GONE=1", "GONE", "A=b=c"], "StopSignal": "12345"}
    async with agent_with(tmp_path, {}, config) as client:
        assert await said(client, "sh", "-c", "pwd; echo $A; echo ${GONE-unset}") == "/not/there\nb=c\nunset\n"
        container = await client.run("sh", "-c", "trap 'exit 7' TERM; while true; do sleep 0.1; done")
        await client.stop(container, 10)
        assert (await client.exited(container)).exit_code in {7, 143}


@pytest.mark.parametrize("signal", ["9" * 5000, "RTMIN+100", "RTMIN+9999999999", "RTMIN-40"])
async def test_a_container_is_stopped_whatever_signal_its_image_names(tmp_path: Path, signal: str) -> None:
    async with agent_with(tmp_path, {}, {"StopSignal": signal}) as client:
        container = await client.run("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
        await client.stop(container, 20)
        assert (await client.status(container)).exit_code == 3, await client.log(container)


async def test_users_and_groups_with_numbers_beyond_all_numbers_are_nobodys(tmp_path: Path) -> None:
    entries: Entries = {
        "etc/passwd": f"odd:x:{'9' * 5000}:0::/:\nodder:x:7:{'9' * 5000}::/:\napp:x:8:9::/:\n".encode(),
        "etc/group": f"odd:x:{'9' * 5000}:app\nmore:x:10:app\n".encode(),
    }
    async with agent_with(tmp_path, entries, {"User": "app"}) as client:
        assert await said(client, "id") == "uid=8(app) gid=9 groups=9,10(more)\n"
    async with agent_with(tmp_path, entries, {"User": "9" * 5000}) as client:
        with pytest.raises(Fault) as raised:
            await client.run("id")
        assert raised.value.kind is Kind.INVALID
