"""Remains of containers: what is left of one on this machine, and how it is taken away. Idempotent."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import suppress
from pathlib import Path

from cellagent.kernel import cgroups, mounts
from cellagent.runtime import settings
from cellagent.runtime.ledger import ContainerEntry
from cellagent.runtime.machine import Machine, new_id
from cellwire.faults import Fault
from hostkit import files

log = logging.getLogger(__name__)


class Remains:
    """Clears up after containers that have ended, that are removed, or of which no record is left."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def clean_up(self, record: ContainerEntry) -> None:
        """What the OCI runtime's `delete` would do: nothing runs, no group, no state. Idempotent."""

        async def sweep() -> None:
            await asyncio.to_thread(_sweep, record, self._machine.settings.oci)

        # One at a time for each container: its end and its removal often come together.
        await self._machine.flights.join(f"clean-up of container {record.id}", sweep)

    async def clear(self, record: ContainerEntry) -> None:
        """Take away all that there is of a container, its record last. Its log stays."""
        machine = self._machine
        await self.clean_up(record)
        await _remove_layers(machine.settings.layers(record.id))
        (machine.settings.exits / record.id).unlink(missing_ok=True)
        for holder in (record.id, *(f"{record.id}-{number}" for number, _ in enumerate(record.parsed().mounts))):
            machine.images.release(holder)
        machine.ledger.drop_container(record.id)

    def forget_strangers(self) -> None:
        """Take away what belongs to containers without a record, as after a reboot that has emptied the state."""
        machine = self._machine
        known = {record.id for record in machine.ledger.containers()}
        for holder in machine.images.holders():
            if holder.partition("-")[0] not in known:
                machine.images.release(holder)
        for layers in machine.settings.all_layers():
            if layers.name not in known:
                log.info("files of container %s, which has no record, are removed", layers.name[:13])
                machine.flights.spawn(_remove_layers(_set_aside(layers)), f"files of container {layers.name[:13]}")


async def _remove_layers(layers: Path) -> None:
    _unmount(layers)
    await asyncio.to_thread(files.remove_tree, layers)


def _unmount(layers: Path) -> None:
    for part in layers.glob(f"{settings.SHARED_PART}*"):
        mounts.keep_apart(part)  # or what is mounted in the volume itself would be unmounted there
    mounts.unmount_below(layers)


def _set_aside(layers: Path) -> Path:
    """Where a container's files are removed from in peace: it may be asked for again by the same id meanwhile."""
    with suppress(OSError, Fault):
        _unmount(layers)
        return layers.rename(layers.with_name(f"removed-{new_id()}"))
    return layers


def _sweep(record: ContainerEntry, oci_state: Path) -> None:
    group = cgroups.ControlGroup(record.cgroup)
    group.kill()
    group.remove()
    shutil.rmtree(oci_state / record.id, ignore_errors=True)
