"""Container images inside the machine image: pulled by the agent's own code into the agent's own store.

A cell still asks the registry for a pod's image, with that pod's credentials; layers that are there are not
pulled again.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from pathlib import Path

from cellagent.daemon import registries
from cellagent.images import room as images
from cellagent.images.messages import Credentials
from cellwire.faults import Fault, Kind
from hostkit import files

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def into(folder: Path, references: Sequence[str], mirrors: Sequence[str], architecture: str) -> None:
    """Pull these images into a store at `folder`. Raises Fault."""
    if not references:
        return
    if _MACHINES[architecture] != platform.machine():
        raise Fault(Kind.UNSUPPORTED, f"container images for {architecture}", f"this machine is {platform.machine()}")
    asyncio.run(_pull(folder, references, mirrors))
    (folder / "reserve").unlink(missing_ok=True)  # space on a cell's disk, not on this one


async def _pull(folder: Path, references: Sequence[str], mirrors: Sequence[str]) -> None:
    settings = images.ImageSettings(root=folder, registries=registries(mirrors))
    async with images.running(settings) as room:
        for reference in references:
            await room.puller.pull(reference, Credentials())
        # A layer that is not known to be on the disk is dropped by a cell, whose boot is another.
        await asyncio.to_thread(files.sync_filesystem, folder)
        room.store.settle(room.store.unsettled())
