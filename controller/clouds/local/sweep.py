"""Removes everything of a local cloud, whether its controller still lives or not; and counts what there is.

For the end of a demonstration or a test, and for people who want a clean machine: no record is needed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec

from controller.clouds.local import instance_cgroups, router
from controller.clouds.local.local_settings import LocalSettings
from hostkit import mountinfo

_SECONDS = 30.0


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a cluster on this machine. All zero: nothing."""

    processes: int = 0
    mounts: int = 0
    namespaces: int = 0
    links: int = 0
    cgroups: int = 0
    files: int = 0


async def leftovers(settings: LocalSettings) -> Leftovers:
    """Count instances' processes, their namespaces, mounts seen from here, links, groups, and disks."""
    groups = instance_cgroups.Groups(settings.cluster, settings.cgroup_parent)
    pids = groups.pids()
    folders = [settings.root / "instances", settings.root / "trash"]
    return Leftovers(
        processes=len(pids),
        # But for the router, which is there as long as the cloud is.
        mounts=sum(point != settings.root for point in mountinfo.below(settings.root, mountinfo.own()))
        - router.pinned(settings),
        namespaces=len({link for pid in pids for link in _namespaces(pid)} - set(_namespaces(os.getpid()))),
        links=len(await router.links(settings)),
        cgroups=sum(folder.name != f"chinampa-{settings.cluster}" for folder in groups.folders()),
        files=sum(len(list(folder.iterdir())) for folder in folders if folder.exists()),
    )


async def sweep(settings: LocalSettings) -> None:
    """End all instances of the cluster and remove all that it has, keys and records too. Raises TimeoutError."""
    groups = instance_cgroups.Groups(settings.cluster, settings.cgroup_parent)
    async with asyncio.timeout(_SECONDS):
        await instance_cgroups.until_none(lambda: groups.kill(""))
        await router.remove(settings)
        await instance_cgroups.until_none(groups.remove)
    await asyncio.to_thread(shutil.rmtree, settings.root, ignore_errors=True)


def _namespaces(pid: int) -> list[str]:
    try:
        return [str(link.readlink()) for link in Path(f"/proc/{pid}/ns").iterdir()]
    except OSError:
        return []
