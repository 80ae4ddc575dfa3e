"""The room of sandboxes: opened for each room that runs pods on cells, with a memory of its own.

Opening it reads what an earlier life of the controller wrote; `Room.following.take_up` goes on where that was. Leaving
ends no pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controller.fleet.cells import Cells
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.following import Following
from controller.sandboxes.interruption import Interruptions
from controller.sandboxes.memory import Memory
from controller.sandboxes.pulling import NOBODY, Pulling, RegistryAccess
from controller.sandboxes.sandbox_lifecycle import Sandboxes
from controller.sandboxes.ways import Ways
from controller.store.record_store import Store
from hostkit.tasks import Finishing


@dataclass(frozen=True, slots=True)
class SandboxRoom:
    """The sandbox room: the memory of sandboxes, and their life."""

    memory: Memory
    following: Following
    containers: Containers
    sandboxes: Sandboxes
    pulling: Pulling


@asynccontextmanager
async def running(
    cells: Cells,
    store: Store,
    ways: Ways,
    owner: str,
    access: RegistryAccess = NOBODY,
    *,
    patience: float | None = None,
) -> AsyncGenerator[SandboxRoom]:
    """The sandboxes of `owner`; `access` is how registries are asked. For `patience` see `OneCell`."""
    async with asyncio.TaskGroup() as tasks:
        memory = Memory(store, Finishing(tasks), owner)
        await memory.load()
        following = Following(tasks, cells, memory, ways)
        containers = Containers(cells, memory, following, ways.carrier, patience)
        sandboxes = Sandboxes(cells, memory, following, ways.carrier, containers)
        watching = tasks.create_task(Interruptions(cells, memory, containers, owner).watch(), name="interruptions")
        try:
            yield SandboxRoom(memory, following, containers, sandboxes, Pulling(memory, access))
        finally:
            watching.cancel()
            await following.close()
