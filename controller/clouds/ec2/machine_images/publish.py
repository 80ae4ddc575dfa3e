"""From a disk to an image in each region: upload, register, copy, and take old ones away.

Every step is found again by the disk's hash in a tag, so that a publication that was cut off goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.machine_images import blocks, own_images, upload
from controller.clouds.ec2.machine_images.blocks import Surveyed
from controller.clouds.ec2.machine_images.own_images import ARCHITECTURES, MachineImage
from controller.clouds.ec2.tags import digest, tag_list, tag_specifications

DEVICE = "/dev/xvda"
_AVAILABLE = 3600.0
_LOOK_AGAIN = 3.0
_LIVING = ("pending", "running", "stopping", "stopped")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `images bake` writes beside a disk, as far as it matters here."""

    commit: str
    architecture: str
    agent: str
    disk_sha256: str


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A request to publish: `regions` get a copy, `keep` images of the architecture stay in each region, those of `key`
    are encrypted with it (a KMS key's ARN; empty: the account's own).
    """

    disk: Path
    home: str
    regions: tuple[str, ...] = ()
    keep: int = 3
    key: str = ""
    tags: dict[str, str] = {}


class PublishProgress(Protocol):
    """Told of what goes on."""

    def stage(self, words: str) -> None:
        """A step begins or has ended."""

    def blocks(self, done: int, total: int) -> None:
        """So many blocks of the disk are uploaded."""


def manifest_of(disk: Path) -> Manifest:
    """The manifest beside a disk. Raises Fault INVALID."""
    path = disk.with_suffix(".manifest.json")
    thing, mend = f"manifest {path}", "bake the disk with `make image`, which writes both"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise Fault(Kind.INVALID, thing, error.strerror or str(error), mend) from error
    except msgspec.DecodeError as error:
        raise Fault(Kind.INVALID, thing, str(error), mend) from error
    if manifest.architecture not in ARCHITECTURES:
        cause = f"it is of a disk for {manifest.architecture}"
        raise Fault(Kind.INVALID, thing, cause, f"bake one for {' or '.join(sorted(ARCHITECTURES))}")
    return manifest


async def publish(calls: Calls, asked: Publication, progress: PublishProgress) -> dict[str, str]:
    """Publish a disk; the image in each region. Raises Fault."""
    manifest = manifest_of(asked.disk)
    surveyed = await asyncio.to_thread(blocks.survey, asked.disk)
    if surveyed.sha256 != manifest.disk_sha256:
        raise Fault(Kind.INVALID, f"disk {asked.disk}", "its manifest is another disk's", "bake it again")
    tags = {
        **asked.tags,
        own_images.TAG_CELL: manifest.architecture,
        own_images.TAG_DISK: surveyed.sha256,
        own_images.TAG_AGENT: manifest.agent,
        own_images.TAG_COMMIT: manifest.commit,
        "Name": f"chinampa cell {manifest.architecture}",
    }
    name = f"chinampa-cell-{manifest.architecture}-{manifest.agent}-{surveyed.sha256[:12]}"
    image = await _at_home(calls, asked, surveyed, name, tags, progress)
    made = {asked.home: image}
    for region in dict.fromkeys(asked.regions):
        if region != asked.home:
            progress.stage(f"copying to {region}")
            made[region] = await _copied(calls, asked, region, image, name, tags)
    for region, published in made.items():
        for gone in await _prune(calls, _of(region, asked.home), manifest.architecture, asked.keep, published):
            progress.stage(f"{region}: took away {gone.id}, published {gone.created}")
    return made


async def _at_home(
    calls: Calls, asked: Publication, surveyed: Surveyed, name: str, tags: Mapping[str, str], progress: PublishProgress
) -> str:
    if known := await _same(calls, "ec2", surveyed.sha256):
        progress.stage(f"{asked.home}: this disk is published as {known.id}")
        return await _available(calls, "ec2", known.id)
    snapshot = await _snapshot(calls, surveyed.sha256)
    if not snapshot:
        total = len(surveyed.blocks)
        progress.stage(f"uploading {total} of {-(-surveyed.size // blocks.BLOCK)} blocks")
        snapshot = await upload.snapshot(
            calls, asked.disk, surveyed, tags, asked.key, lambda done: progress.blocks(done, total)
        )
    progress.stage(f"registering an image of {snapshot}")
    try:
        made = await calls.call("ec2", "RegisterImage", **registration(name, tags, snapshot, surveyed.gib))
    except Fault as fault:
        # The name has the disk's hash: somebody else publishes it, and was first.
        known = await _same(calls, "ec2", surveyed.sha256) if fault.kind is Kind.EXISTS else None
        if known is None:
            raise
        progress.stage(f"{asked.home}: this disk was published meanwhile as {known.id}")
        return await _available(calls, "ec2", known.id)
    image = str(made["ImageId"])
    # Repeated for those who take no tags at the registration: an image without them is found by nobody.
    await calls.call("ec2", "CreateTags", Resources=[image], Tags=tag_list(tags))
    return await _available(calls, "ec2", image)


def registration(name: str, tags: Mapping[str, str], snapshot: str, gib: int) -> dict[str, Any]:
    """What RegisterImage is told. Pure."""
    architecture = tags[own_images.TAG_CELL]
    return {
        "Name": name,
        "Description": f"Chinampa cell, agent {tags[own_images.TAG_AGENT]}",
        "Architecture": ARCHITECTURES[architecture],
        # Types without UEFI boot the same disk by its BIOS loader; arm has none.
        "BootMode": "uefi-preferred" if architecture == "amd64" else "uefi",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "ImdsSupport": "v2.0",
        "VirtualizationType": "hvm",
        "RootDeviceName": DEVICE,
        "BlockDeviceMappings": [
            {
                "DeviceName": DEVICE,
                "Ebs": {
                    "SnapshotId": snapshot,
                    "VolumeSize": gib,
                    "VolumeType": "gp3",
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": tag_specifications(tags, ["image"]),
    }


async def _copied(calls: Calls, asked: Publication, region: str, image: str, name: str, tags: Mapping[str, str]) -> str:
    service = _of(region, asked.home)
    known = await _same(calls, service, tags[own_images.TAG_DISK])
    if known is None:
        copied = await calls.call(
            service,
            "CopyImage",
            Name=name,
            SourceImageId=image,
            SourceRegion=asked.home,
            Encrypted=True,
            ClientToken=digest(region, image)[:32],
            TagSpecifications=tag_specifications(tags, ["image", "snapshot"]),
        )
        copy = str(copied["ImageId"])
        await calls.call(service, "CreateTags", Resources=[copy], Tags=tag_list(tags))
    else:
        copy = known.id
    return await _available(calls, service, copy)


async def _available(calls: Calls, service: str, image: str) -> str:
    """Wait until an image can be launched. Raises Fault BROKEN where it never will be, TIMEOUT after an hour."""
    try:
        async with asyncio.timeout(_AVAILABLE):
            while True:
                told = await calls.call(service, "DescribeImages", ImageIds=[image])
                state = next((str(one.get("State", "")) for one in told.get("Images", ())), "pending")
                if state == "available":
                    return image
                if state not in {"pending", "transient"}:
                    raise Fault(Kind.BROKEN, f"image {image}", f"AWS says that it is {state}", "publish again")
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError as error:
        raise Fault(Kind.TIMEOUT, f"image {image}", f"it is not available after {_AVAILABLE:.0f} s") from error


async def _same(calls: Calls, service: str, disk: str) -> MachineImage | None:
    """An image of the same disk that is published or on its way."""
    images = await own_images.published(calls, service)
    return next((one for one in images if one.disk == disk and one.state in {"available", "pending"}), None)


async def _snapshot(calls: Calls, disk: str) -> str:
    """A completed snapshot of this disk, from a publication that was cut off before it registered."""
    wanted = [{"Name": f"tag:{own_images.TAG_DISK}", "Values": [disk]}]
    async for one in calls.pages("ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=wanted):
        if one.get("State") == "completed":
            return str(one["SnapshotId"])
    return ""


async def _prune(calls: Calls, service: str, architecture: str, keep: int, latest: str) -> tuple[MachineImage, ...]:
    images = await own_images.published(calls, service)
    used: set[str] = set()
    if old := own_images.superfluous(images, architecture, keep, (), latest):
        filters = [
            {"Name": "image-id", "Values": [image.id for image in old]},
            {"Name": "instance-state-name", "Values": list(_LIVING)},
        ]
        async for reservation in calls.pages(service, "DescribeInstances", "Reservations", Filters=filters):
            used |= {str(instance["ImageId"]) for instance in reservation["Instances"]}
    gone = own_images.superfluous(images, architecture, keep, used, latest)
    for image in gone:
        snapshots = await _snapshots_of(calls, service, image)
        await calls.call(service, "DeregisterImage", ImageId=image.id)
        for snapshot in snapshots:
            await calls.call(service, "DeleteSnapshot", SnapshotId=snapshot)
    return gone


async def _snapshots_of(calls: Calls, service: str, image: MachineImage) -> tuple[str, ...]:
    """The snapshots that the image names, and what an upload of its disk has left."""
    told = await calls.call(service, "DescribeImages", ImageIds=[image.id])
    found = [
        str(mapping["Ebs"]["SnapshotId"])
        for one in told.get("Images", ())
        for mapping in one.get("BlockDeviceMappings") or ()
        if (mapping.get("Ebs") or {}).get("SnapshotId")
    ]
    wanted = [{"Name": f"tag:{own_images.TAG_DISK}", "Values": [image.disk]}]
    pages = calls.pages(service, "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=wanted)
    found += [str(one["SnapshotId"]) async for one in pages]
    return tuple(dict.fromkeys(found))


def _of(region: str, home: str) -> str:
    return "ec2" if region == home else f"ec2@{region}"
