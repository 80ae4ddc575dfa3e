"""A sandbox: pinned namespaces, a network, the files by which a pod knows itself. No process of its own.

The record is written before the first side effect, so that whatever a killed agent left is found and taken away.
Running it again for the same pod and attempt gives the sandbox that is there, or joins the one being made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from cellagent.kernel import cgroups, mounts, namespaces, selinux, sysctls
from cellagent.network import cni, etc_files, pod_network, ports
from cellagent.network.pod_network import NetworkMode
from cellagent.runtime import bundle, network_repair, userns
from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.ledger import Phase, SandboxEntry
from cellagent.runtime.machine import Machine, new_id
from cellagent.runtime.spec import confinement
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

log = logging.getLogger(__name__)
HANDLERS = ("", "runc", "crun", "chinampa")
# "true" lets the pod reach the cloud's metadata service.
METADATA_ANNOTATION = "chinampa.dev/metadata"
# "true" leads to the pod what comes to the cell's public address.
PUBLIC_ANNOTATION = "chinampa.dev/public-address"
# A plugin's own servant that is down is back within minutes.
RETRY_SECONDS = 30.0
# How long a bridge stays when its last pod has gone.
LINGER_SECONDS = 5.0


class RuntimeSandboxes:
    """The owner of sandboxes."""

    def __init__(self, machine: Machine, containers: RuntimeContainers) -> None:
        self._machine = machine
        self._containers = containers
        self._undone: set[str] = set()
        """Sandboxes that were not made and could not be taken away yet."""
        self._unstopped: set[str] = set()
        """Sandboxes that could not be stopped yet."""
        self._making: dict[str, asyncio.Event] = {}
        """Set when a sandbox is made, or undone."""
        self._left = asyncio.Event()
        self._retiring = False
        self._restoring = asyncio.Lock()
        """What is being put right must not come back after its end."""

    async def run(self, config: cri.PodSandboxConfig, handler: str) -> str:
        """The id of the pod's sandbox, which stands when this returns."""
        meta = config.metadata
        if handler not in HANDLERS:
            raise Fault(Kind.INVALID, f"runtime handler {handler}", "there is none of this name", "leave it empty")
        if not (meta.name and meta.namespace and meta.uid):
            raise Fault(Kind.INVALID, "sandbox metadata", "name, namespace and uid must be given")
        security = config.linux.security_context
        confinement.check_selinux(f"pod {meta.namespace}/{meta.name}", security, enabled=selinux.enabled())
        userns.mapping(config)
        ports.wanted(config.port_mappings)
        etc_files.check(etc_files.hostname(config), config.dns_config)
        if ".." in Path(group := config.linux.cgroup_parent).parts:
            raise Fault(Kind.INVALID, f"control group {group}", "its path climbs")
        key = f"RunPodSandbox {meta.namespace}/{meta.name} {meta.uid} {meta.attempt}"
        return await self._machine.flights.join(key, lambda: self._run(config, handler))

    async def stop(self, sandbox_id: str) -> None:
        """End its containers, take its network away. The unknown counts as stopped.

        One that is still being made is undone. What cannot be stopped now is tried again by and by.
        """
        if (record := self._machine.ledger.find_sandbox(sandbox_id)) is not None:
            await self._machine.flights.join(f"StopPodSandbox {record.id}", lambda: self._stop(record.id))

    async def remove(self, sandbox_id: str) -> None:
        """Stop it and forget it with all its containers. The unknown counts as removed."""
        await self.stop(sandbox_id)
        if (record := self._machine.ledger.find_sandbox(sandbox_id)) is not None:
            await self._machine.flights.join(f"RemovePodSandbox {record.id}", lambda: self._remove(record.id))

    async def network_trouble(self, record: SandboxEntry) -> str:
        """Why the sandbox's network is not as it was made; "" where it is."""
        try:
            await pod_network.check(self._network(record, record.parsed()))
        except Fault as fault:
            return str(fault)
        return ""

    async def recover(self) -> None:
        """After a start: end what was half made or half stopped, and see which namespaces a reboot has left."""
        for record in self._machine.ledger.sandboxes():
            if record.phase is Phase.MAKING:
                log.info("sandbox %s was half made when the agent ended", record.id[:13])
                if record.network is NetworkMode.CNI:  # plugins may take minutes
                    self._undone.add(record.id)
                else:
                    await self._undo(record)
            elif record.phase is Phase.STOPPING:
                self._machine.flights.spawn(self.stop(record.id), f"stop of sandbox {record.id[:13]}")
            elif record.phase is Phase.READY and not all(
                namespaces.pinned(Path(path)) for path in record.namespaces.values()
            ):
                if record.network is not NetworkMode.CNI:
                    with suppress(Fault):  # what it had ended with the machine, but for its lease
                        await pod_network.detach(self._network(record, record.parsed()))
                self._unpin(record)
                self._machine.ledger.put_sandbox(msgspec.structs.replace(record, phase=Phase.STOPPED))
        self._machine.flights.spawn(self._clear_up(), "what is left of sandboxes")
        if self._machine.settings.pod_address:
            self._machine.flights.spawn(network_repair.keep(self.restore), "what pods' networks need")
        self._retire_later()

    async def restore(self) -> None:
        """Put right what others have taken from the networks of pods that are there."""
        for record in self._machine.ledger.sandboxes():
            async with self._restoring:
                known = self._machine.ledger.find_sandbox(record.id)
                if known is None or known.phase is not Phase.READY:
                    continue
                for thing in await pod_network.restore(self._network(known, known.parsed())):
                    log.warning("sandbox %s: put right what somebody has changed: %s", record.id[:13], thing)

    async def close(self) -> None:
        """The bridge of pods does not outlive the agent, unless pods do."""
        with suppress(Fault):
            await pod_network.retire(self._machine.settings.bridge, self._machine.settings.networks_here)

    async def _run(self, config: cri.PodSandboxConfig, handler: str) -> str:
        known = self._same(config.metadata)
        if known is not None and known.phase is Phase.MAKING:
            # It is not being made any more, or this call had joined that: it was never there for its caller.
            if not await self._undone_now(known.id):
                cause = "what an earlier call for it made cannot be taken away yet"
                name = f"sandbox of pod {config.metadata.namespace}/{config.metadata.name}"
                raise Fault(Kind.UNAVAILABLE, name, cause, "see the agent's log, and ask again")
        elif known is not None:
            if known.phase is Phase.READY:
                return known.id
            name = f"sandbox of pod {config.metadata.namespace}/{config.metadata.name}"
            raise Fault(Kind.EXISTS, name, f"{known.id[:13]} has the same uid and attempt and is stopped", "remove it")
        record = self._machine.ledger.put_sandbox(self._described(config, handler))
        ended = self._making[record.id] = asyncio.Event()
        try:
            record = await self._make(record, config)
        except BaseException:
            # Also where the agent is ending: what is not undone now is undone at the next start.
            await self._undo(record)
            raise
        finally:
            del self._making[record.id]
            ended.set()
        self._machine.emit(cri.CONTAINER_CREATED_EVENT, record.id, record.id)
        self._machine.emit(cri.CONTAINER_STARTED_EVENT, record.id, record.id)
        return record.id

    def _same(self, meta: cri.PodSandboxMetadata) -> SandboxEntry | None:
        wanted = meta.SerializeToString(deterministic=True)
        for record in self._machine.ledger.sandboxes():
            if record.parsed().metadata.SerializeToString(deterministic=True) == wanted:
                return record
        return None

    def _described(self, config: cri.PodSandboxConfig, handler: str) -> SandboxEntry:
        options = config.linux.security_context.namespace_options
        settings = self._machine.settings
        mode = NetworkMode.CELL if settings.pod_address else pod_network.lone_mode(settings.plugins)
        sandbox_id = new_id()
        return SandboxEntry(
            id=sandbox_id,
            config=config.SerializeToString(),
            handler=handler,
            created_at=time.time_ns(),
            phase=Phase.MAKING,
            cgroup=config.linux.cgroup_parent or f"{cgroups.own_parent()}/pod{sandbox_id[:13]}",
            network=NetworkMode.HOST if options.network == cri.NODE else mode,
        )

    async def _make(self, record: SandboxEntry, config: cri.PodSandboxConfig) -> SandboxEntry:
        folder = self._machine.settings.sandbox_folder(record.id)
        options = config.linux.security_context.namespace_options
        kinds = [] if record.network is NetworkMode.HOST else ["net", "uts"]
        if options.ipc != cri.NODE:
            kinds.append("ipc")
        if config.linux.security_context.HasField("namespace_options") and options.pid == cri.POD:
            kinds.append("pid")
        # Also where there is none to make: a setting must not be lost in silence.
        sysctls.refuse_foreign(config.linux.sysctls, kinds)
        paths: dict[str, Path] = {}
        ids = userns.mapping(config)
        if ids is not None:
            kinds.append("user")
        if kinds:
            maps = (ids,) if ids is not None else ()
            paths = await namespaces.create(
                folder / "ns",
                kinds,
                hostname=etc_files.hostname(config),
                sysctls=dict(config.linux.sysctls),
                uids=maps,
                gids=maps,
            )
        if "ipc" in paths:
            (folder / "shm").mkdir(exist_ok=True)
            mounts.tmpfs(folder / "shm", bundle.SHM_BYTES)
        self._require_wanted(record, config)
        group = cgroups.ControlGroup(record.cgroup)
        group.create(inner=True)
        status = await pod_network.attach(self._network(record, config))
        _write_files(folder, config, status.addresses, host=record.network is NetworkMode.HOST)
        if ids is not None:
            for name in ("resolv.conf", "hosts", "hostname"):
                os.chown(folder / name, ids.outside, ids.outside)
        self._require_wanted(record, config)
        return self._machine.ledger.put_sandbox(
            msgspec.structs.replace(
                record,
                phase=Phase.READY,
                addresses=status.addresses,
                namespaces={kind: str(path) for kind, path in paths.items()},
            )
        )

    def _require_wanted(self, record: SandboxEntry, config: cri.PodSandboxConfig) -> None:
        if self._machine.ledger.sandbox(record.id).phase is not Phase.MAKING:
            name = f"sandbox of pod {config.metadata.namespace}/{config.metadata.name}"
            raise Fault(Kind.PRECONDITION, name, "it was stopped while it was being made", "run the pod anew")

    def _network(self, record: SandboxEntry, config: cri.PodSandboxConfig) -> pod_network.PodNetwork:
        settings = self._machine.settings
        return pod_network.PodNetwork(
            sandbox=record.id,
            mode=record.network,
            namespace=settings.sandbox_folder(record.id) / "ns" / "net",
            address=settings.pod_address,
            address6=settings.pod_address6,
            folder=settings.networks_here,
            cache=settings.networks,
            bridge=settings.bridge,
            subnet=settings.subnet,
            ports=ports.wanted(config.port_mappings),
            pod=(config.metadata.namespace, config.metadata.name, config.metadata.uid),
            metadata=config.annotations.get(METADATA_ANNOTATION, "").strip() == "true",
            vpc=settings.vpc,
            public=config.annotations.get(PUBLIC_ANNOTATION, "").strip() == "true",
            plugins=settings.plugins,
        )

    async def _stop(self, sandbox_id: str) -> None:
        record = self._machine.ledger.find_sandbox(sandbox_id)
        if record is None or record.phase is Phase.STOPPED:
            return
        # From here on no container starts in it, nor is it made any further.
        record = self._machine.ledger.put_sandbox(msgspec.structs.replace(record, phase=Phase.STOPPING))
        if (made := self._making.get(sandbox_id)) is not None:
            await made.wait()
            if self._machine.ledger.find_sandbox(sandbox_id) is None:
                return
        try:
            await self._end(record)
            self._machine.ledger.put_sandbox(msgspec.structs.replace(record, phase=Phase.STOPPED))
        except Fault:
            # Not every client asks again.
            self._unstopped.add(sandbox_id)
            self._left.set()
            raise
        self._machine.emit(cri.CONTAINER_STOPPED_EVENT, sandbox_id, sandbox_id)

    async def _end(self, record: SandboxEntry) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for container in self._machine.ledger.containers(record.id):
                    group.create_task(self._containers.stop(container.id, 0))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        await self._dismantle(record)

    async def _remove(self, sandbox_id: str) -> None:
        for container in self._machine.ledger.containers(sandbox_id):
            await self._containers.remove(container.id)
        record = self._machine.ledger.find_sandbox(sandbox_id)
        if record is None:
            return
        self._machine.emit(cri.CONTAINER_DELETED_EVENT, sandbox_id, sandbox_id)
        if not record.parsed().linux.cgroup_parent:
            await asyncio.to_thread(cgroups.ControlGroup(record.cgroup).remove)
        self._machine.ledger.drop_sandbox(sandbox_id)

    async def _undo(self, record: SandboxEntry) -> bool:
        """Take away what was made of it, and forget it; false where that must be tried again, which it is."""
        try:
            await self._dismantle(record)
        except Fault as fault:
            log.warning("sandbox %s, which was not made, is taken away later: %s", record.id[:13], fault)
            self._undone.add(record.id)
            self._left.set()
            return False
        self._undone.discard(record.id)
        if not record.parsed().linux.cgroup_parent:
            await asyncio.to_thread(cgroups.ControlGroup(record.cgroup).remove)
        self._machine.ledger.drop_sandbox(record.id)
        return True

    async def _dismantle(self, record: SandboxEntry) -> None:
        # Plugins find in the namespace what they have made elsewhere for it: it goes last.
        async with self._restoring:
            await pod_network.detach(self._network(record, record.parsed()))
        self._unpin(record)
        if record.network is NetworkMode.BRIDGE:
            self._retire_later()

    def _retire_later(self) -> None:
        if not self._retiring:
            self._retiring = True
            self._machine.flights.spawn(self._retire(), "a bridge without pods")

    async def _retire(self) -> None:
        """The next pod often comes soon after the last: a Job's, or one that is made anew."""
        await asyncio.sleep(LINGER_SECONDS)
        self._retiring = False
        await pod_network.retire(self._machine.settings.bridge, self._machine.settings.networks_here)

    def _unpin(self, record: SandboxEntry) -> None:
        folder = self._machine.settings.sandbox_folder(record.id)
        namespaces.remove(folder / "ns")
        mounts.unmount(folder / "shm")

    async def _clear_up(self) -> None:
        """For ever: stop and take away what could not be, and have CNI plugins give back what they hold for sandboxes
        that are no more, as after a reboot.
        """
        while True:
            self._left.clear()
            done = [await self._undone_now(sandbox_id) for sandbox_id in tuple(self._undone)]
            done += [await self._stopped_now(sandbox_id) for sandbox_id in tuple(self._unstopped)]
            done += [await self._given_back(sandbox_id) for sandbox_id in cni.attached(self._machine.settings.networks)]
            if all(done):
                await self._left.wait()
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async def _undone_now(self, sandbox_id: str) -> bool:
        record = self._machine.ledger.find_sandbox(sandbox_id)
        if record is None or record.phase is not Phase.MAKING:
            self._undone.discard(sandbox_id)  # a kubelet has it stopped and removed
            return True
        return await self._machine.flights.join(f"StopPodSandbox {sandbox_id}", lambda: self._undo(record))

    async def _stopped_now(self, sandbox_id: str) -> bool:
        self._unstopped.discard(sandbox_id)
        try:
            await self.stop(sandbox_id)
        except Fault as fault:
            log.warning("sandbox %s is stopped later: %s", sandbox_id[:13], fault)
            return False
        return True

    async def _given_back(self, sandbox_id: str) -> bool:
        known = self._machine.ledger.find_sandbox(sandbox_id)
        if known is not None and known.phase is not Phase.STOPPED:
            return True
        settings = self._machine.settings
        try:
            await cni.take_away(settings.networks, sandbox_id, settings.plugins)
        except (Fault, OSError) as fault:
            log.warning("the network of sandbox %s, which is gone, is given back later: %s", sandbox_id[:13], fault)
            return False
        log.info("the network of sandbox %s, which is gone, is given back", sandbox_id[:13])
        return True


def _write_files(folder: Path, config: cri.PodSandboxConfig, addresses: tuple[str, ...], *, host: bool) -> None:
    present = [path.read_text() for path in network_repair.RESOLV_CONFS if path.exists()]
    own = present[0] if host and present else etc_files.reachable(present)
    (folder / "resolv.conf").write_text(etc_files.resolv_conf(config.dns_config, own))
    if host:
        shutil.copyfile("/etc/hosts", folder / "hosts")
        (folder / "hostname").write_text(socket.gethostname() + "\n")
    else:
        (folder / "hosts").write_text(etc_files.hosts(etc_files.hostname(config), addresses))
        (folder / "hostname").write_text(etc_files.hostname(config) + "\n")
