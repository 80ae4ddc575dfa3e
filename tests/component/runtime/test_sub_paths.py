"""Parts of volumes: whatever a container has put into one, the next gets nothing from outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from hostkit import mountinfo
from tests.component.runtime.conftest import Agents
from tests.component.runtime.test_mapped import IDS, supported
from tests.component.runtime.test_mounts import BOTH, INWARD, PRIVATE, TRY, mount, said, source

__all__ = ["source"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume, and beside it a folder of the cell's own with a key in it."""
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity/key").write_text("secret\n")
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o2770)
    return folder


def part(volume: Path, path: str, at: str = "/part", **fields: object) -> cri.Mount:
    made = cri.Mount(container_path=at, host_path=str(volume), image_sub_path=path)
    made.MergeFrom(cri.Mount(**fields))  # type: ignore[arg-type]
    return made


async def test_folders_and_files_of_a_volume_are_shown_and_a_missing_part_is_made(agent: Agents, volume: Path) -> None:
    (volume / "deep/er").mkdir(parents=True)
    (volume / "deep/er/file").write_text("found\n")
    (volume / "deep/inner").symlink_to("../deep/er")
    async with agent() as client:
        script = f"cat /folder/file /file /linked/file; {TRY.format('/new')}; {TRY.format('/folder')}"
        mounts = (
            part(volume, "deep/er", "/folder", readonly=True),
            part(volume, "deep/er/file", "/file"),
            part(volume, "deep/inner", "/linked"),
            part(volume, "made/for/it", "/new"),
        )
        assert await said(client, script, *mounts) == ["found", "found", "found", "written", "refused"]
    assert (volume / "made/for/it/made").exists()
    # As a kubelet makes them, so that whoever can use the volume can use its parts.
    modes = {path: (volume / path).stat().st_mode & 0o7777 for path in ("made", "made/for", "made/for/it")}
    assert set(modes.values()) == {0o2770}


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("sub", "{}/identity", "sub"),
        ("sub", "../identity", "sub"),
        ("sub", "{}", "sub/identity"),
        ("sub", "..", "sub/identity/key"),
        ("sub", "{}/identity/made", "sub"),
        ("sub", "../identity/made", "sub/deep"),
        ("sub", "{}/identity", "sub/made/deep"),
        ("sub", "/proc/self/root", "sub"),
        ("sub", ".", "../identity/made"),
        ("sub", ".", "sub/../../identity"),
        ("sub", ".", "/identity"),
    ],
)
async def test_a_part_that_leads_out_of_its_volume_is_refused_and_nothing_is_made_there(
    agent: Agents, volume: Path, tmp_path: Path, link: str, target: str, path: str
) -> None:
    (volume / link).symlink_to(target.format(tmp_path))
    async with agent() as client:
        sandbox = await client.sandbox()
        with pytest.raises(Fault, match=r"container main, mount /part: subPath .* is outside of the volume") as caught:
            await client.create(sandbox, "cat", "/part/key", mounts=[part(volume, path)])
        assert caught.value.kind is Kind.INVALID
    assert list((tmp_path / "identity").iterdir()) == [tmp_path / "identity/key"]
    assert list(volume.iterdir()) == [volume / link]


async def test_a_link_to_nothing_within_the_volume_is_told_of(agent: Agents, volume: Path) -> None:
    (volume / "sub").symlink_to("nothing")
    async with agent() as client:
        sandbox = await client.sandbox()
        with pytest.raises(Fault, match=r"mount /part: subPath 'sub' cannot be had: .* leads to nothing"):
            await client.create(sandbox, "true", mounts=[part(volume, "sub")])
    assert list(volume.iterdir()) == [volume / "sub"]


async def test_what_a_container_gets_is_what_was_there_as_it_was_made_whatever_is_put_there_later(
    agent: Agents, volume: Path
) -> None:
    (volume / "sub").mkdir()
    (volume / "sub/key").write_text("own\n")
    async with agent() as client:
        container = await client.create(await client.sandbox(), "cat", "/part/key", mounts=[part(volume, "sub")])
        (volume / "sub").rename(volume / "aside")
        (volume / "sub").symlink_to("../identity")
        await client.start(container)
        await client.exited(container)
        assert (await client.log(container)).endswith(" own\n")


@pytest.mark.parametrize(
    ("propagation", "inward", "outward"),
    [(PRIVATE, False, False), (INWARD, True, False), (BOTH, True, True)],
    ids=["private", "host to container", "bidirectional"],
)
async def test_mounts_pass_as_with_the_whole_volume_and_those_in_it_outlive_the_container(
    agent: Agents, source: Path, propagation: cri.MountPropagation.ValueType, inward: bool, outward: bool
) -> None:
    for name in ("early", "in", "out"):
        (source / "sub" / name).mkdir(parents=True)
    await mount("-t", "tmpfs", "none", str(source / "sub/early"))
    linux = cri.LinuxContainerConfig(security_context=cri.LinuxContainerSecurityContext(privileged=True))
    linux.security_context.namespace_options.pid = cri.CONTAINER
    async with agent() as client:
        bound = part(source, "sub", propagation=propagation)
        container = await client.run("sleep", "100", mounts=[bound], linux=linux)
        await mount("-t", "tmpfs", "none", str(source / "sub/in"))
        (source / "sub/in/later").touch()
        seen = await client.exec(container, "ls", "/part/in")
        assert (seen.stdout == b"later\n") == inward
        made = await client.exec(container, "sh", "-c", "mount -t tmpfs none /part/out && touch /part/out/inside")
        assert made.exit_code == 0, made.stderr
        assert (source / "sub/out/inside").exists() == outward
        await client.stop(container)
        await call(client.stub.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)
        points = [one.point for one in mountinfo.own()]
        assert not [point for point in points if container in point]
        kept = {f"{source}/sub/early", f"{source}/sub/in", *([f"{source}/sub/out"] if outward else [])}
        assert {point for point in points if point.startswith(f"{source}/sub/")} == kept


async def test_a_part_belongs_to_the_root_of_a_pod_with_a_user_namespace(agent: Agents, volume: Path) -> None:
    (volume / "sub").mkdir()
    async with agent() as client:
        if not await supported(client):
            pytest.skip("NOT RUN: this kernel cannot map files for a user namespace")
        config = client.sandbox_config()
        options = config.linux.security_context.namespace_options.userns_options
        options.MergeFrom(cri.UserNamespace(mode=cri.POD, uids=[IDS], gids=[IDS]))
        container = await client.create(
            await client.sandbox(config),
            "sh",
            "-c",
            "touch /part/made && busybox stat -c %u /part/made",
            mounts=[part(volume, "sub", uidMappings=[IDS], gidMappings=[IDS])],
        )
        await client.start(container)
        await client.exited(container)
        assert (await client.log(container)).endswith(" 0\n")
        assert (volume / "sub/made").stat().st_uid == 0


async def test_a_container_that_is_refused_leaves_nothing(agent: Agents, volume: Path) -> None:
    (volume / "sub").mkdir()
    (volume / "sub/kept").touch()
    async with agent() as client:
        sandbox = await client.sandbox()
        wrong = cri.Mount(container_path="", host_path=str(volume))
        with pytest.raises(Fault, match="does not say where"):
            await client.create(sandbox, "true", mounts=[part(volume, "sub"), wrong])
        assert not [one.point for one in mountinfo.own() if "/part-" in one.point]
    assert (volume / "sub/kept").exists()
