"""Has the kubelet see what its pods' volumes hold on cells' disks, where that is more than they may: so it evicts them,
by its own rules and in its own words.

A kubelet measures its own folder of an emptyDir, which stays empty, for the volume is on the cell. Once the volume
holds more than the pod allows, as much disk is reserved in that folder as it takes for the kubelet to see it (a file
without content, which goes with the folder). What containers themselves hold the kubelet hears by CRI.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice.quantity import quantity
from controller.fleet.cells import Cells
from controller.objects import disk_limits
from controller.objects.schema.pods import PodSpec
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import SandboxRecord
from controller.sandboxes.stats import Stats
from controller.shim import mount_translation

log = structlog.get_logger()
# As often as a kubelet looks for what is over its limit.
EVERY = 10.0
# What the kubelet must see beyond a limit.
BEYOND = 4096
# Of the worker's disk this share stays free, as the kubelet has it.
SPARED = 0.05
RESERVED = ".chinampa-holds-as-much"


class VolumeLimits:
    """Looks at volumes whose pods limit them. `spec_of` finds a pod's specification by its uid."""

    def __init__(
        self, cells: Cells, memory: Memory, stats: Stats, pods_folder: str, spec_of: Callable[[str], PodSpec | None]
    ) -> None:
        self._cells = cells
        self._memory = memory
        self._stats = stats
        self._pods_folder = pods_folder
        self._spec_of = spec_of

    async def keep(self, sandbox: SandboxRecord) -> None:
        """Show the kubelet what is beyond its limit until cancelled, or until the cell is over."""
        there = OneCell(self._cells, sandbox.cell)
        while not is_over(self._cells.get(sandbox.cell)):
            await asyncio.sleep(EVERY)
            spec = self._spec_of(sandbox.uid) or PodSpec()
            names = disk_limits.on_disk(spec)
            if not names or (not disk_limits.bounded(spec) and disk_limits.whole(spec) is None):
                continue
            try:
                sizes = await there.disk_usage([self._on_cell(sandbox.uid, name) for name in names])
                held = dict(zip(names, sizes, strict=True))
                logs = cri.PodSandboxConfig.FromString(sandbox.config).log_directory
                beside = self._layers(sandbox) + (await asyncio.to_thread(_size, Path(logs)) if logs else 0)
                wanted = shown(spec, held, beside)
                await asyncio.to_thread(self._show, sandbox.uid, wanted)
            except Fault as fault:
                log.warning("what a pod's volumes hold is not shown to the kubelet", uid=sandbox.uid, cause=str(fault))

    def _layers(self, sandbox: SandboxRecord) -> int:
        """Bytes of what its containers have written elsewhere than into volumes."""
        known = (self._stats.containers.get(one.id) for one in self._memory.containers_of(sandbox.id))
        return sum(one.writable_layer.used_bytes.value for one in known if one is not None)

    def _show(self, uid: str, wanted: Mapping[str, int]) -> None:
        for name, size in wanted.items():
            folder = Path(self._pods_folder, uid, "volumes", mount_translation.EMPTY_DIR, name)
            if folder.is_dir():
                reserve(folder / RESERVED, size)

    def _on_cell(self, uid: str, name: str) -> str:
        return f"{mount_translation.CELL_ROOT}/{uid}/volumes/{mount_translation.EMPTY_DIR}/{name}"


def shown(spec: PodSpec, held: Mapping[str, int], beside: int) -> dict[str, int]:
    """Bytes that the kubelet is to see in each volume that begins empty: none, unless something is beyond its limit."""
    wanted = dict.fromkeys(held, 0)
    for name, limit in disk_limits.bounded(spec).items():
        if held.get(name, 0) > quantity(limit):
            wanted[name] = int(quantity(limit)) + BEYOND
    whole = disk_limits.whole(spec)
    if whole is not None and sum(held.values()) + beside > whole:
        left = max(whole - Decimal(beside), Decimal(0)) + BEYOND
        for name, size in held.items():
            wanted[name] = max(wanted[name], int(min(Decimal(size + BEYOND), left)))
            left -= min(Decimal(size), left)
    return wanted


def reserve(path: Path, size: int) -> None:
    """Have a file take so many bytes of disk; none is no file. Blocks. Raises Fault."""
    try:
        if not size:
            path.unlink(missing_ok=True)
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            there = os.fstat(descriptor).st_blocks * 512
            disk_ = os.fstatvfs(descriptor)
            if disk_.f_bavail * disk_.f_frsize - (size - there) < disk_.f_blocks * disk_.f_frsize * SPARED:
                cause = f"{size - there} bytes more would leave less than {SPARED:.0%} of this worker's disk"
                raise Fault(Kind.NO_CAPACITY, f"file {path}", cause, "give the worker a larger disk")
            if there < size:
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"file {path}", str(error)) from error


def _size(folder: Path) -> int:
    """Bytes of disk that the files in a folder take. Blocks for as long as a few files take."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a log that has been rotated away
                found += Path(root, name).lstat().st_blocks * 512
    return found
