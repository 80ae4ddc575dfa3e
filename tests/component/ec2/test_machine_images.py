"""Publishing a disk in an AWS account that is moto's: snapshot, image, tags, and what is taken away."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellwire.faults import Fault
from controller.clouds.ec2 import calls as door
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.machine_images import blocks, image_selection, own_images
from controller.clouds.ec2.machine_images.publish import Publication, publish
from tests.support.ec2_cloud import credentials
from tests.support.ec2_front import REGION, running_front
from tests.support.ec2_launches import backend


class Interrupted(Exception):
    """The person has had enough."""


class Told:
    """What a publication says, and the block at which it is to be cut off."""

    def __init__(self, cut_at: int = 1 << 30) -> None:
        self.stages: list[str] = []
        self.done: list[int] = []
        self._cut_at = cut_at

    def stage(self, words: str) -> None:
        self.stages.append(words)

    def blocks(self, done: int, total: int) -> None:
        self.done.append(done)
        if done >= self._cut_at:
            raise Interrupted


@asynccontextmanager
async def account() -> AsyncGenerator[Calls]:
    with credentials():
        async with running_front() as front, door.running(Ec2Settings(region=REGION, endpoint_url=front.url)) as calls:
            yield calls


def a_disk(folder: Path, indices: tuple[int, ...] = (0, 3, 7), name: str = "cell") -> Path:
    """A sparse disk with so many blocks that hold something, and its manifest."""
    disk = folder / f"{name}.raw"
    with disk.open("wb") as file:
        file.truncate(9 * blocks.BLOCK)
        for index in indices:
            file.seek(index * blocks.BLOCK + 17)
            file.write(secrets.token_bytes(100))
    manifest = {
        "commit": "0" * 40,
        "architecture": "amd64",
        "agent": "0.1.0",
        "disk_sha256": hashlib.sha256(disk.read_bytes()).hexdigest(),
    }
    disk.with_suffix(".manifest.json").write_text(json.dumps(manifest))
    return disk


async def put(calls: Calls) -> int:
    return calls.counts["ebs", "PutSnapshotBlock", "ok"]


async def test_a_published_disk_is_a_tagged_image_whose_snapshot_holds_the_blocks_with_data_and_no_others(
    tmp_path: Path,
) -> None:
    disk, told = a_disk(tmp_path), Told()
    async with account() as calls:
        made = await publish(calls, Publication(disk=disk, home=REGION), told)
        (image,) = await own_images.published(calls)
        assert made == {REGION: image.id}
        assert (image.architecture, image.state) == ("amd64", "available")
        (snapshot,) = (await calls.call("ec2", "DescribeSnapshots", OwnerIds=["self"], Filters=disk_tag(image.disk)))[
            "Snapshots"
        ]
        listed = await calls.call("ebs", "ListSnapshotBlocks", SnapshotId=snapshot["SnapshotId"])
        assert sorted(one["BlockIndex"] for one in listed["Blocks"]) == [0, 3, 7]
        got = await calls.call(
            "ebs", "GetSnapshotBlock", SnapshotId=snapshot["SnapshotId"], BlockIndex=3, BlockToken="t"
        )
        assert await got["BlockData"].read() == blocks.read(disk, 3)
    assert told.done[-1] == 3


def disk_tag(disk: str) -> list[dict[str, object]]:
    return [{"Name": f"tag:{own_images.TAG_DISK}", "Values": [disk]}]


async def test_a_disk_that_is_published_is_neither_uploaded_nor_registered_again(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    async with account() as calls:
        first = await publish(calls, Publication(disk=disk, home=REGION), Told())
        uploaded = await put(calls)
        assert await publish(calls, Publication(disk=disk, home=REGION), Told()) == first
        assert await put(calls) == uploaded
        assert len(await own_images.published(calls)) == 1


async def test_who_may_not_upload_is_told_the_right_that_is_missing(tmp_path: Path) -> None:
    with credentials():
        async with running_front() as front, door.running(Ec2Settings(region=REGION, endpoint_url=front.url)) as calls:
            front.rules.fail("POST /snapshots", "AccessDeniedException")
            with pytest.raises(Fault, match="allow ebs:StartSnapshot"):
                await publish(calls, Publication(disk=a_disk(tmp_path), home=REGION), Told())


async def test_who_publishes_a_disk_that_another_has_published_meanwhile_gets_that_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = a_disk(tmp_path)
    async with account() as calls:
        asked = Publication(disk=disk, home=REGION)
        first = await publish(calls, asked, Told())
        told, too_early = own_images.published, [True]

        async def published(*args: Any) -> tuple[own_images.MachineImage, ...]:
            return () if too_early and too_early.pop() else await told(*args)

        monkeypatch.setattr(own_images, "published", published)
        assert await publish(calls, asked, Told()) == first
        assert len(await told(calls)) == 1
    assert not too_early


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "No such file or directory; bake the disk with `make image`"),
        ("{", "truncated; bake the disk with `make image`"),
        ('{"commit": "0", "agent": "0", "disk_sha256": "0"}', "architecture"),
        ('{"commit": "0", "agent": "0", "disk_sha256": "0", "architecture": "s390x"}', "s390x; bake one for amd64 or"),
    ],
    ids=["none", "torn", "without an architecture", "of another architecture"],
)
async def test_a_manifest_that_is_none_is_refused_before_anything_is_uploaded(
    tmp_path: Path, manifest: str | None, words: str
) -> None:
    disk = a_disk(tmp_path)
    beside = disk.with_suffix(".manifest.json")
    beside.unlink()
    if manifest is not None:
        beside.write_text(manifest)
    async with account() as calls:
        with pytest.raises(Fault, match=words):
            await publish(calls, Publication(disk=disk, home=REGION), Told())
        assert not calls.counts


async def test_an_upload_that_was_cut_off_goes_on_with_the_blocks_that_are_missing(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, tuple(range(9)))
    journal = blocks.Journal(disk.with_name("cell.raw.upload"))
    sha256 = blocks.survey(disk).sha256
    async with account() as calls:
        with pytest.raises(Interrupted):
            await publish(calls, Publication(disk=disk, home=REGION), Told(cut_at=5))
        with journal.path.open("a") as file:
            file.write("6")  # the process died before the end of the line
        _, there = journal.done(sha256)
        assert len(there) >= 5
        before, told = await put(calls), Told()
        await publish(calls, Publication(disk=disk, home=REGION), told)
        assert told.done[0] == len(there)
        assert await put(calls) - before == 9 - len(there)
    assert not journal.path.exists()


async def test_images_beyond_those_to_keep_go_with_their_snapshots_except_where_an_instance_runs_from_them(
    tmp_path: Path,
) -> None:
    any_disk = {"Name": "tag-key", "Values": [own_images.TAG_DISK]}
    async with account() as calls:
        asked = [Publication(disk=a_disk(tmp_path, name=f"cell{n}"), home=REGION, keep=9) for n in range(3)]
        first, second, third = [(await publish(calls, each, Told()))[REGION] for each in asked]
        await calls.call("ec2", "RunInstances", ImageId=first, MinCount=1, MaxCount=1, InstanceType="m5.large")
        fourth = Publication(disk=a_disk(tmp_path, name="cell4"), home=REGION, keep=2)
        newest = (await publish(calls, fourth, Told()))[REGION]
        left = {image.id for image in await own_images.published(calls)}
        assert first in left
        assert newest in left
        # Times have seconds: which of those made in one second is the older is nobody's to say.
        assert len(left) in {2, 3}
        assert left <= {first, second, third, newest}
        snapshots = (await calls.call("ec2", "DescribeSnapshots", OwnerIds=["self"], Filters=[any_disk]))["Snapshots"]
        assert len(snapshots) == len(left)


async def test_a_copy_is_made_once_in_each_other_region(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    async with account() as calls:
        asked = Publication(disk=disk, home=REGION, regions=("eu-west-1", REGION))
        made = await publish(calls, asked, Told())
        assert set(made) == {REGION, "eu-west-1"}
        assert await publish(calls, asked, Told()) == made
        assert [image.id for image in await own_images.published(calls, "ec2@eu-west-1")] == [made["eu-west-1"]]


async def test_a_disk_is_not_published_under_the_manifest_of_another(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    disk.write_bytes(b"x" * blocks.BLOCK)
    async with account() as calls:
        with pytest.raises(Fault, match="its manifest is another disk's"):
            await publish(calls, Publication(disk=disk, home=REGION), Told())
        assert not await put(calls)


async def test_a_disk_of_nothing_is_refused(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, ())
    with pytest.raises(Fault, match="nothing but zeros"):
        await asyncio.to_thread(blocks.survey, disk)


async def test_the_newest_published_image_is_launched_where_the_settings_name_none(tmp_path: Path) -> None:
    async with account() as calls:
        older = (await publish(calls, Publication(disk=a_disk(tmp_path, name="a"), home=REGION), Told()))[REGION]
        required = Ec2Settings(region=REGION)
        assert (await image_selection.resolved(required, calls)).images == {"amd64": older}
        newer = (await publish(calls, Publication(disk=a_disk(tmp_path, name="b"), home=REGION), Told()))[REGION]
        backend().amis[older].creation_date = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        assert (await image_selection.resolved(required, calls)).images == {"amd64": newer}
        pinned = msgspec.structs.replace(required, image_amd64=older, image_arm64="none")
        assert (await image_selection.resolved(pinned, calls)).images == {"amd64": older}


async def test_a_controller_without_any_image_says_how_to_get_one() -> None:
    async with account() as calls:
        with pytest.raises(Fault, match=r"none of ours is published.*chinampa image publish"):
            await image_selection.resolved(Ec2Settings(region=REGION), calls)
