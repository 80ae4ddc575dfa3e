"""Puts a pod's folders and files on its cell, has it mount those of file servers, and asks what they hold of its disk.

A server that is out of reach holds the pod's containers back, as a kubelet does, and the pod's events say which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault
from controller.pods.config_data import Lookup
from controller.pods.disk_usage import DiskUsage
from controller.pods.events import Recorder
from controller.pods.run import PodRecord
from controller.pods.translate import Folder, volumes_folder
from controller.pods.volume_claims import Place, places
from controller.pods.volume_contents import Entry
from controller.sandboxes.cell_client import OneCell

CHUNK = 1 << 18
# As a kubelet: half a second doubling to two minutes.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 120.0


async def put_folders(there: OneCell, folder: str, entries: Sequence[Folder]) -> None:
    """Make a folder of the cell with these entries; one that is there stays as it is. Raises Fault."""
    start = wire.PutFilesStart(folder=folder, keep_existing=True)
    await there.put_files(start, [wire.PutFilesInput(entry=_entry(one)) for one in entries])


async def put_tree(there: OneCell, folder: str, entries: Sequence[Entry]) -> None:
    """Make a folder of the cell hold this tree; what it held is replaced at once. Raises Fault."""
    messages: list[wire.PutFilesInput] = []
    for one in entries:
        entry = wire.FileEntry(path=one.path, mode=one.mode, gid=one.gid, target=one.target)
        messages.append(wire.PutFilesInput(entry=entry))
        messages += [wire.PutFilesInput(data=one.data[at : at + CHUNK]) for at in range(0, len(one.data), CHUNK)]
    await there.put_files(wire.PutFilesStart(folder=folder), messages)


async def mount_all(record: PodRecord, there: OneCell, lookup: Lookup, recorder: Recorder) -> None:
    """Return once all of the pod's volumes that are on file servers are mounted on its cell."""
    pause = FIRST_PAUSE
    while True:
        try:
            found = places(record.pod, lookup)
            for name, place in found.items():
                await _mount(record.pod.metadata.uid, name, place, there)
            return
        except Fault as fault:
            recorder.warning(record.shown, "FailedMount", str(fault))
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _mount(uid: str, name: str, place: Place, there: OneCell) -> None:
    target = f"{volumes_folder(uid)}/{name}"
    try:
        await there.mount_folder(
            wire.MountFolderRequest(
                target=target,
                server=place.server,
                path=place.path,
                options=place.options,
                read_only=place.read_only,
            )
        )
    except Fault as fault:
        cause = f"MountVolume.SetUp failed: {fault.thing}: {fault.cause}"
        raise Fault(fault.kind, f'volume "{name}"', cause, fault.mend) from fault


async def held(there: OneCell, sandbox: str, own: Mapping[str, str], folders: Mapping[str, str]) -> DiskUsage:
    """What containers (names by id) and folders hold on the cell's disk. Raises Fault."""
    used = await there.usage(sandbox, own.keys())
    sizes = await there.disk_usage(list(folders.values()))
    layers = {own[container]: one.layer_bytes for container, one in used.items()}
    return DiskUsage(layers, dict(zip(folders, sizes, strict=True)))


def _entry(folder: Folder) -> wire.FileEntry:
    entry = wire.FileEntry(path=folder.name, mode=folder.mode, gid=folder.gid)
    if folder.memory is not None:
        entry.memory.size_bytes = folder.memory
        entry.memory.SetInParent()  # of no size it is one in memory all the same
    return entry
