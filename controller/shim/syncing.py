"""Volumes on a cell, kept as the kubelet keeps its own, for as long as the pod's sandbox lives.

A kubelet writes a new generation of a volume beside the old one and swaps the link `..data`; the kernel tells us, and
the whole volume is sent again (they are small), one copy after the other. Whatever was missed, by a controller that was
down or a cell out of reach, is found by looking at each start, each reconnection and once a minute.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.sandboxes.cell_calls import PATIENCE
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import SandboxRecord
from controller.shim import mount_translation, volume_copy
from hostkit.inotify import CHANGES, Inotify
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()
# The kubelet's own links follow the swap of `..data` within microseconds; one copy takes both.
SETTLE = 0.05
LOOK_EVERY = 60.0
RETRY = 2.0


class VolumeSync:
    """Sends volumes to cells, when a container is made and whenever they change."""

    def __init__(self, cells: Cells, memory: Memory, inotify: Inotify, pods_folder: str) -> None:
        self._cells = cells
        self._memory = memory
        self._inotify = inotify
        self._pods_folder = pods_folder
        self._woken: dict[str, asyncio.Event] = {}
        self._sent: dict[str, dict[str, volume_copy.VolumeMark]] = {}
        self._sending = KeyedLocks[tuple[str, str]]()
        self._told: dict[str, dict[str, str]] = {}
        """Why volumes of a sandbox could not be sent when that was last tried, by source."""

    async def put(self, sandbox_id: str, there: OneCell, source: str, on_cell: str) -> str:
        """Send a volume as it is now; its path on the cell. From now on it is kept in sync. Raises Fault."""
        path = await self._send(sandbox_id, there, source, on_cell)
        self.look(sandbox_id)
        return path

    def look(self, sandbox_id: str) -> None:
        """Something may have changed: a container came, or the cell is connected again."""
        if (woken := self._woken.get(sandbox_id)) is not None:
            woken.set()

    async def keep(self, sandbox: SandboxRecord) -> None:
        """Keep the sandbox's volumes in sync until cancelled."""
        woken = self._woken.setdefault(sandbox.id, asyncio.Event())
        watched: dict[str, tuple[int, int]] = {}
        try:
            with ExitStack() as watches:
                while True:
                    wanted = self._wanted(sandbox)
                    for source in wanted:
                        # Another folder is there once the kubelet has mounted it anew.
                        if (found := _folder(source)) is not None and watched.get(source) != found:
                            self._watch(source, woken, watches)
                            watched[source] = found
                    pause = await self._all(sandbox, wanted)
                    await _either(woken, pause)
                    woken.clear()
                    await asyncio.sleep(SETTLE)
        finally:
            self._woken.pop(sandbox.id, None)
            self._sent.pop(sandbox.id, None)
            self._told.pop(sandbox.id, None)

    async def _all(self, sandbox: SandboxRecord, wanted: dict[str, str]) -> float:
        """Send what has changed; how long to wait before looking again unasked."""
        pause, told = LOOK_EVERY, self._told.setdefault(sandbox.id, {})
        for source, on_cell in wanted.items():
            if not await asyncio.to_thread(self._changed, sandbox.id, source):
                continue
            try:
                there = OneCell(self._cells, sandbox.cell, patience=PATIENCE)
                await self._send(sandbox.id, there, source, on_cell)
            except Fault as fault:
                if fault.kind is Kind.NOT_FOUND:  # The kubelet takes volumes away when the pod's containers have ended.
                    continue
                pause = RETRY
                if told.get(source) != str(fault):
                    log.warning("volume not sent; it is tried again", cell=sandbox.cell, cause=str(fault))
                told[source] = str(fault)
            else:
                told.pop(source, None)
                log.info("volume sent", sandbox=sandbox.id[:13], cell=sandbox.cell, volume=Path(source).name)
        return pause

    async def _send(self, sandbox_id: str, there: OneCell, source: str, on_cell: str) -> str:
        # One after the other: what is older would arrive last, and what is newer be taken away after it.
        async with self._sending[sandbox_id, source]:
            return await self._send_now(sandbox_id, there, source, on_cell)

    async def _send_now(self, sandbox_id: str, there: OneCell, source: str, on_cell: str) -> str:
        try:
            # Taken before the volume is read: a change in between is sent once too often, never too seldom.
            before = await asyncio.to_thread(volume_copy.mark, Path(source))
        except FileNotFoundError as error:
            raise Fault(Kind.NOT_FOUND, f"volume {source}", "it is gone from this worker") from error
        except OSError as error:
            raise Fault(Kind.BROKEN, f"volume {source}", f"it could not be read: {error}") from error
        path = await volume_copy.send(there, Path(source), on_cell, written=True)
        self._sent.setdefault(sandbox_id, {})[source] = before
        return path

    def _changed(self, sandbox_id: str, source: str) -> bool:
        try:
            return self._sent.get(sandbox_id, {}).get(source) != volume_copy.mark(Path(source))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # which is told where it is read

    def _watch(self, source: str, woken: asyncio.Event, watches: ExitStack) -> None:
        try:
            watches.callback(self._inotify.watch(Path(source), CHANGES, lambda _: woken.set()))
        except Fault as fault:
            log.warning("a volume is looked at once a minute only", volume=source, cause=str(fault))

    def _wanted(self, sandbox: SandboxRecord) -> dict[str, str]:
        """Source and path on the cell of each volume that a container of the sandbox has mounted."""
        found: dict[str, str] = {}
        for container in self._memory.containers_of(sandbox.id):
            for mount in cri.ContainerStatus.FromString(container.status).mounts:
                parts = mount_translation.below(self._pods_folder, sandbox.uid, mount.host_path)
                if parts is None or parts[0:1] != ("volumes",):
                    continue
                try:
                    planned = mount_translation.plan(
                        mount, pods_folder=self._pods_folder, uid=sandbox.uid, container=""
                    )
                except Fault:
                    continue  # it is no copy: its cell has mounted what another machine serves
                if planned.fate is mount_translation.Handling.SYNCED:
                    found[planned.source] = planned.on_cell
        return found


async def _either(woken: asyncio.Event, pause: float) -> None:
    try:
        async with asyncio.timeout(pause):
            await woken.wait()
    except TimeoutError:
        return


def _folder(source: str) -> tuple[int, int] | None:
    try:
        found = Path(source).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
