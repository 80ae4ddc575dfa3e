"""The account's machine images that are ours, by their tags; which is the newest, which may go. Deciding is pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import PREFIX

TAG_CELL = f"{PREFIX}cell-image"
"""On an image and its snapshots; its value is the architecture, in our words."""
TAG_DISK = f"{PREFIX}disk"
"""SHA-256 of the disk from which it was made."""
TAG_AGENT = f"{PREFIX}agent"
TAG_COMMIT = f"{PREFIX}commit"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}


class MachineImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `created` is ISO 8601 in UTC, so that the later sorts after the earlier."""

    id: str
    name: str
    architecture: str
    created: str
    state: str
    disk: str = ""
    agent: str = ""
    commit: str = ""


def of_aws(told: Mapping[str, Any]) -> MachineImage:
    """An image as DescribeImages tells it."""
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in told.get("Tags") or ()}
    return MachineImage(
        id=str(told["ImageId"]),
        name=str(told.get("Name") or ""),
        architecture=tags.get(TAG_CELL, ""),
        created=str(told.get("CreationDate") or ""),
        state=str(told.get("State") or ""),
        disk=tags.get(TAG_DISK, ""),
        agent=tags.get(TAG_AGENT, ""),
        commit=tags.get(TAG_COMMIT, ""),
    )


async def published(calls: Calls, service: str = "ec2") -> tuple[MachineImage, ...]:
    """Ours in this region ("ec2@eu-west-1" asks another), the newest first. Raises Fault."""
    told = calls.pages(
        service, "DescribeImages", "Images", Owners=["self"], Filters=[{"Name": "tag-key", "Values": [TAG_CELL]}]
    )
    found = [of_aws(one) async for one in told]
    return tuple(sorted(found, key=lambda image: (image.created, image.id), reverse=True))


def newest(images: Iterable[MachineImage], architecture: str) -> MachineImage | None:
    """The image to launch; None where there is none that can be."""
    fit = [image for image in images if image.architecture == architecture and image.state == "available"]
    return max(fit, key=lambda image: (image.created, image.id), default=None)


def superfluous(
    images: Collection[MachineImage], architecture: str, keep: int, used: Collection[str], latest: str = ""
) -> tuple[MachineImage, ...]:
    """The images beyond the newest `keep` of an architecture from which no instance runs.

    Times of creation have seconds only: `latest` is known to be newer than others of its second.
    """
    mine = sorted(
        (image for image in images if image.architecture == architecture),
        key=lambda image: (image.id == latest, image.created, image.id),
        reverse=True,
    )
    return tuple(image for image in mine[keep:] if image.id not in used)
