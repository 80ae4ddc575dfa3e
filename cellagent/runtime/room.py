"""The runtime room: everything of sandboxes and containers under one roof, with one TaskGroup."""

from __future__ import annotations

import asyncio
import logging
import platform
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import msgspec

from cellagent.images.image_source import ImageProvider
from cellagent.kernel import agent_locks, apparmor, cgroups, oci
from cellagent.network.holding import Holding
from cellagent.runtime import checkpoint, container_logs, file_trees, merging, network_repair, userns, views
from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.container_events import ContainerEvents
from cellagent.runtime.container_logs import LogChunk
from cellagent.runtime.creation import CarriedFile
from cellagent.runtime.file_trees import Tree
from cellagent.runtime.ledger import Phase, RuntimeLedger
from cellagent.runtime.machine import Machine
from cellagent.runtime.observing import RuntimeService
from cellagent.runtime.sandbox import RuntimeSandboxes
from cellagent.runtime.sessions.backend import LocalBackend
from cellagent.runtime.sessions.streaming import Streaming
from cellagent.runtime.settings import RuntimeSettings
from cellagent.runtime.spec import capabilities
from cellagent.runtime.stats.summary import SandboxStats
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit.inotify import Inotify
from hostkit.tasks import Singleflight

log = logging.getLogger(__name__)
# A reader that has followed `..data` opens its file within microseconds; a stopped one gets the new file next time.
PASSAGE_SECONDS = 1.0
_ID = re.compile(r"[0-9a-f]{64}")


class RuntimeRoom:
    """The runtime room: its parts that the rest of the agent uses."""

    def __init__(
        self, machine: Machine, containers: RuntimeContainers, sandboxes: RuntimeSandboxes, holding: Holding | None
    ) -> None:
        self._machine = machine
        self._containers = containers
        self.holding = holding
        self.backend = LocalBackend(machine.ledger, containers)
        streaming = Streaming(self.backend, machine.flights)
        self.service = RuntimeService(machine, sandboxes, containers, streaming, SandboxStats(machine))
        self.oci_runtime = f"{machine.runtime.name}: {machine.runtime.why}"

    async def make_container(
        self, container_id: str, asked: cri.CreateContainerRequest, carried: CarriedFile | None
    ) -> cri.ContainerStatus:
        """Make a container under an id that its owner has chosen, who may ask again; its status. Raises Fault."""
        if not _ID.fullmatch(container_id):
            raise Fault(Kind.INVALID, f"container id {container_id[:80]}", "it is not of 64 hexadecimal digits")
        machine = self._machine

        async def make() -> None:
            if machine.ledger.find_container(container_id) is None:
                await self._containers.creation.create(asked.pod_sandbox_id, asked.config, container_id, carried)

        await machine.flights.join(f"container {container_id} is made", make)
        return views.container_status(machine.ledger.container(container_id))

    def read_file(self, path: str, limit: int) -> bytes:
        """The last bytes of a file, or of what is carried under that path; none where there is none. Raises Fault."""
        for container in self._machine.ledger.containers():
            if container.carried == path:
                path = str(self._machine.settings.carried(container.id))
                break
        return file_trees.read_end(path, limit)

    def logs(self, container_id: str, offset: int, *, follow: bool) -> AsyncIterator[LogChunk]:
        """The bytes of a container's log from an offset; the last chunk says so."""
        return container_logs.read(self._machine.ledger, self._machine.inotify, container_id, offset, follow=follow)

    async def trim_log(self, container_id: str, offset: int) -> None:
        """Give back the space of a log before an offset; whoever asks has those bytes durably. Raises Fault."""
        await container_logs.trim(self._machine.ledger, container_id, offset)

    def tree(self, folder: str, *, keep_existing: bool) -> Tree:
        """A tree of files to be written. Raises Fault."""
        return Tree(folder, self._machine.settings.trees, keep_existing=keep_existing)

    def remove_later(self, paths: Sequence[Path]) -> None:
        """Remove old generations of a volume's files, once no reader can be on its way through them."""
        if paths:
            self._machine.flights.spawn(_removed(paths), "old files of a volume")

    def events(self) -> ContainerEvents:
        """Where to listen for what happens to containers."""
        return self._machine.events

    def running_containers(self) -> int:
        """How many containers run."""
        return sum(one.phase is Phase.RUNNING for one in self._machine.ledger.containers())


@asynccontextmanager
async def running(settings: RuntimeSettings, images: ImageProvider) -> AsyncGenerator[RuntimeRoom]:
    """The room, with whatever its folders hold from before. Containers outlive it."""
    settings.prepare()
    async with agent_locks.held(settings.state / "lock"):
        cgroups.make_room()
        await apparmor.load_default()
        ledger = RuntimeLedger(settings)
        ledger.load()
        with _oci_runtime(settings) as runtime, closing(Inotify()) as inotify:
            async with asyncio.TaskGroup() as group:
                machine = Machine(
                    settings, images, ledger, ContainerEvents(), inotify, Singleflight(group), runtime, userns.Support()
                )
                _ask_once(machine)
                containers = RuntimeContainers(machine)
                sandboxes = RuntimeSandboxes(machine, containers)
                holding = network_repair.holding(settings)
                try:
                    await containers.recover()
                    await sandboxes.recover()
                    checkpoint.clear(settings)
                    file_trees.clear(settings.trees)
                    machine.flights.spawn(
                        userns.find_out(settings.root / "probe", machine.user_namespaces), "whether files can be mapped"
                    )
                    if holding is not None:
                        machine.flights.spawn(network_repair.resolve(holding), "names of Services")
                        machine.flights.spawn(holding.watch(), "Services that are dialled")
                        machine.flights.spawn(network_repair.keep(holding.restore), "Services in the kernel")
                    yield RuntimeRoom(machine, containers, sandboxes, holding)
                finally:
                    containers.close()
                    machine.flights.stop()
                    await sandboxes.close()


def _ask_once(machine: Machine) -> None:
    """What the kernel tells once for all containers is asked before there is a pod, of which none waits for it."""
    capabilities.own()
    cgroups.controllers()
    platform.machine()
    _ = machine.lowest_oom_score


@contextmanager
def _oci_runtime(settings: RuntimeSettings) -> Generator[oci.OciRuntime]:
    """The OCI runtime of this machine; crun from memory, where the kernel runs programs from there."""
    found = oci.detect(settings.oci_runtime)
    log.info("containers are made by %s: %s", found.name, found.why)
    with ExitStack() as stack:
        if found.name == "crun":
            try:
                path = stack.enter_context(oci.in_memory(found.path, settings.state))
                found = msgspec.structs.replace(found, path=oci.tried(path))
            except (OSError, Fault) as error:
                log.info("crun copies itself for each run: %s", error)
        yield found


async def _removed(paths: Sequence[Path]) -> None:
    await asyncio.sleep(PASSAGE_SECONDS)
    for path in paths:
        await asyncio.to_thread(merging.remove, path)
