"""Creation of containers: everything is laid out, and nothing runs.

A container is known once all of it is laid out.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from cellagent.kernel.slow_paths import SlowPaths
from cellagent.runtime import bundle
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellagent.runtime.machine import Machine, new_id
from cellagent.runtime.remains import Remains
from cellagent.runtime.spare import SpareLayers
from cellwire.cri import profiles
from cellwire.cri.unlimited import settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import files


class CarriedFile(NamedTuple):
    """A file that the cell carries for its controller for as long as there is the container, and the path by which that
    asks for it.
    """

    path: str
    content: bytes


class ContainerCreation:
    """Makes containers in sandboxes that are ready."""

    def __init__(self, machine: Machine, remains: Remains) -> None:
        self._machine = machine
        self._remains = remains
        self._looks = SlowPaths()
        self.spare = SpareLayers(machine.settings.spare_layers)

    async def create(
        self,
        sandbox_id: str,
        config: cri.ContainerConfig,
        container_id: str = "",
        carried: CarriedFile | None = None,
    ) -> str:
        """Lay out a container: image held, root mounted, bundle written, and last the file that the cell carries. No
        listener is told: that is for who has no id of it before the answer.
        """
        machine = self._machine
        name = config.metadata.name
        if not name:
            raise Fault(Kind.INVALID, "container metadata", "the name must be given")
        self._ready(sandbox_id, name)
        binds = [one for one in config.mounts if not one.HasField("image")]
        places = await self._looks.places({one.host_path: f"mount {one.container_path}" for one in binds})
        parts = {(places[one.host_path], one.image_sub_path): one for one in binds if one.image_sub_path}
        await self._looks.parts({part: bundle.shown(name, mount) for part, mount in parts.items()})
        sandbox = self._ready(sandbox_id, name)
        profiles.settle(config.linux.security_context)
        if config.linux.HasField("resources"):
            config.linux.resources.CopyFrom(settled(config.linux.resources))
        for other in machine.ledger.containers(sandbox.id):
            if other.parsed().metadata == config.metadata:
                cause = f"{other.id[:13]} has the same name and attempt in this sandbox"
                raise Fault(Kind.EXISTS, f"container {name}", cause, "remove it, or count the attempt up")
        image = machine.images.find(config.image.image)
        for mount in config.mounts:
            if mount.HasField("image"):
                mount.image.image_ref = machine.images.find(mount.image.image).id
        directory = sandbox.parsed().log_directory
        stop_signal = _stop_signal(config, image.config.stop_signal)
        container_id = container_id or new_id()
        machine.images.hold(image.id, container_id)
        record = ContainerEntry(
            id=container_id,
            sandbox_id=sandbox.id,
            config=config.SerializeToString(),
            image_id=image.id,
            image_ref=image.digests[0] if image.digests else image.id,
            created_at=time.time_ns(),
            log_path=str(Path(directory) / config.log_path) if directory and config.log_path else "",
            cgroup=f"/{sandbox.cgroup.strip('/')}/{container_id}",
            stop_signal=stop_signal,
            carried=carried.path if carried is not None else "",
        )
        try:
            self.spare.take(machine.settings.layers(record.id))
            user = bundle.lay_out(machine, sandbox, record, image, places)
            if carried is not None:
                files.write(machine.settings.carried(record.id), carried.content, mode=0o600)
            # Written once all is there: what an agent that is killed before has made is a stranger's to the next one.
            made = msgspec.structs.replace(record, uid=user.uid, gid=user.gid, groups=tuple(user.groups))
            machine.ledger.put_container(made)
        except BaseException as error:
            await self._remains.clear(record)
            if isinstance(error, OSError):
                raise Fault(Kind.BROKEN, f"container {name}", str(error), "look at this machine's disk") from error
            raise
        return container_id

    def _ready(self, sandbox_id: str, container: str) -> SandboxEntry:
        """The sandbox that a container is to be in. Raises Fault."""
        sandbox = self._machine.ledger.sandbox(sandbox_id)
        if sandbox.phase is not Phase.READY:
            raise Fault(Kind.PRECONDITION, f"container {container}", f"its sandbox {sandbox.id[:13]} is not ready")
        return sandbox


def _stop_signal(config: cri.ContainerConfig, image_signal: str) -> str:
    if config.stop_signal != cri.SIGNAL_RUNTIME_DEFAULT:
        if config.stop_signal not in cri.Signal.values():
            raise Fault(Kind.INVALID, f"container {config.metadata.name}", f"no signal is {config.stop_signal}")
        return cri.Signal.Name(config.stop_signal).removeprefix("SIGNAL_")
    return image_signal or "SIGTERM"
