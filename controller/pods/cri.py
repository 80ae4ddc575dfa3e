"""What pods need of their cell, through drops of its connection; a cell that does not come back is CellLost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from grpclib.client import Channel

from cellwire.cell.v1 import cell_pb2
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import LoginOf
from controller.fleet.cells import Cells
from controller.model.names import CellName
from controller.pods.contents import Entry
from controller.pods.storage import Held
from controller.pods.translate import Folder
from controller.sandboxes import told
from controller.sandboxes.cell import PAUSE, QUICK, OneCell
from controller.sandboxes.told import Made, News

TERMINATION_BYTES = 4096
CHUNK = 1 << 18
# A cell that is heard and not believed is heard less and less often.
LONGEST_PAUSE = 30.0


class CellLost(Exception):
    """The cell will not come back; its text says why."""


class CellRuntime:
    """The runtime on one cell, for one pod."""

    def __init__(self, cells: Cells, name: CellName, login: LoginOf | None = None) -> None:
        self.name = name
        self.there = _Kept(cells, name)
        self._login = login

    async def connect(self) -> Channel:
        """The connection, once there is one. Raises CellLost."""
        return await self.there.connect()

    async def sandbox(self, config: cri.PodSandboxConfig) -> tuple[str, bool]:
        """The pod's sandbox, and whether it was made just now."""
        for one in await self.there.sandboxes(config.metadata.uid):
            if one.attempt == config.metadata.attempt:
                return one.id, False
        return await self.there.run_sandbox(config, "", _nobody_knows), True

    async def addresses(self, sandbox: str) -> tuple[str, ...]:
        """The pod's addresses, the first one first."""
        return told.addresses(await self.there.sandbox_status(sandbox))

    async def image(self, reference: str) -> cri.Image | None:
        """An image that is on the cell, or None."""
        return await self.there.image(reference)

    async def pull(self, reference: str, config: cri.PodSandboxConfig, logins: Sequence[tuple[str, str]] = ()) -> str:
        """Pull an image with the first of these logins that may, else logged in to the cloud's own registries; returns
        what CreateContainer wants of it.
        """
        for name, password in logins[:-1]:
            try:
                return await self._pulled(reference, config, cri.AuthConfig(username=name, password=password))
            except Fault as fault:
                if fault.kind is not Kind.DENIED:
                    raise
        if logins:
            name, password = logins[-1]
            return await self._pulled(reference, config, cri.AuthConfig(username=name, password=password))
        found = await self._login(reference) if self._login is not None else None
        auth = cri.AuthConfig(username=found.username, password=found.password) if found else None
        return await self._pulled(reference, config, auth)

    async def _pulled(self, reference: str, config: cri.PodSandboxConfig, auth: cri.AuthConfig | None) -> str:
        asked = cri.PullImageRequest(image=cri.ImageSpec(image=reference), sandbox_config=config, auth=auth)
        return await self.there.pull_image(asked)

    async def create(self, sandbox: str, config: cri.ContainerConfig, pod: cri.PodSandboxConfig) -> str:
        """Create a container, over drops of the connection too; returns its id."""
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        return await self.there.create_container(asked, _nobody_knows)

    async def start(self, container: str) -> None:
        """Start a created container; one that has started already is left alone."""
        try:
            await self.there.start_container(container)
        except Fault:
            status = await self.status(container)
            if status is None or not status.started_at or status.state == cri.CONTAINER_CREATED:
                raise
            if status.exit_code == 128 and status.reason in {"StartError", "ContainerCannotRun"}:
                raise

    async def stop(self, container: str, grace: float) -> None:
        """Stop a container within `grace` seconds; the stopped and the unknown are no error."""
        await self.there.stop_container(container, grace)

    async def containers(self, sandbox: str) -> tuple[Made, ...]:
        """All containers of a sandbox."""
        return await self.there.containers(sandbox)

    async def status(self, container: str) -> cri.ContainerStatus | None:
        """A container's status, or None where the cell knows it no more."""
        return await self.there.container_status(container)

    async def exec(self, container: str, command: list[str], limit: float) -> cri.ExecSyncResponse:
        """Run a command and wait for it. Raises Fault TIMEOUT after `limit` seconds."""
        asked = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=max(1, round(limit)))
        return await self.there.exec_sync(asked, limit + QUICK)

    async def read_file(self, path: str) -> bytes:
        """The end of a small file of the cell."""
        return await self.there.read_file(path, TERMINATION_BYTES)

    async def held(self, sandbox: str, own: Mapping[str, str], folders: Mapping[str, str]) -> Held:
        """What containers (names by id) and folders hold on the cell's disk."""
        used = await self.there.usage(sandbox, own.keys())
        sizes = await self.there.disk_usage(list(folders.values()))
        layers = {own[container]: one.layer_bytes for container, one in used.items()}
        return Held(layers, dict(zip(folders, sizes, strict=True)))

    async def put_folders(self, folder: str, entries: tuple[Folder, ...]) -> None:
        """Make a folder of the cell with these entries; one that is there stays as it is."""
        start = cell_pb2.PutFilesStart(folder=folder, keep_existing=True)
        await self.there.put_files(start, [cell_pb2.PutFilesInput(entry=_entry(one)) for one in entries])

    async def put_tree(self, folder: str, entries: Sequence[Entry]) -> None:
        """Make a folder of the cell hold this tree; what it held is replaced at once."""
        messages: list[cell_pb2.PutFilesInput] = []
        for one in entries:
            entry = cell_pb2.FileEntry(path=one.path, mode=one.mode, gid=one.gid, target=one.target)
            messages.append(cell_pb2.PutFilesInput(entry=entry))
            messages += [
                cell_pb2.PutFilesInput(data=one.data[at : at + CHUNK]) for at in range(0, len(one.data), CHUNK)
            ]
        await self.there.put_files(cell_pb2.PutFilesStart(folder=folder), messages)

    async def observe(self, sandbox: str, poke: Callable[[], None]) -> None:
        """Poke whenever something may have changed: at each (re)connection and event. Ends only with CellLost."""

        async def begun() -> None:
            poke()

        async def heard(news: News) -> None:
            del news
            poke()

        pause = PAUSE
        while True:
            since = time.monotonic()
            try:
                await self.there.events(sandbox, lambda _: None, begun, heard)
            except Fault:
                poke()
            pause = PAUSE if time.monotonic() - since > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)


class _Kept(OneCell):
    """A cell that a pod has: it is waited for until it is lost."""

    async def connect(self) -> Channel:
        try:
            return await super().connect()
        except Fault as fault:
            raise CellLost(fault.cause) from fault


def _nobody_knows(name: str) -> bool:
    """Pods know containers by their own cell only."""
    del name
    return False


def _entry(folder: Folder) -> cell_pb2.FileEntry:
    entry = cell_pb2.FileEntry(path=folder.name, mode=folder.mode, gid=folder.gid)
    if folder.memory is not None:
        entry.memory.size_bytes = folder.memory
        entry.memory.SetInParent()  # of no size it is one in memory all the same
    return entry
