"""Volumes on file servers, mounted by the cell of the pod that has them.

A server that is out of reach holds the pod's containers back, as a kubelet does, and the pod's events say which.
"""

from __future__ import annotations

import asyncio

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault
from controller.pods.config_data import Lookup
from controller.pods.events import Recorder
from controller.pods.run import PodRecord
from controller.pods.translate import volumes_folder
from controller.pods.volume_claims import Place, places
from controller.sandboxes.cell_client import OneCell

# As a kubelet: half a second doubling to two minutes.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 120.0


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
