"""Usage of containers and sandboxes, from their control groups. Read when asked; CPU times are kept, and what writable
layers hold, since they are walked beside everything else (`Stats.look`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from cellagent.kernel import accounting, cgroups
from cellagent.runtime import declared_volumes, views
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellagent.runtime.machine import Machine
from cellagent.runtime.stats.folder_walk import disk_usage
from cellwire.cri.v1 import runtime_pb2 as cri

# A writable layer is walked at most so often: it may hold a hundred thousand files.
DISK_SECONDS = 10.0
# Who asks waits so long for a walk; one of millions of files goes on, and the last one's numbers are told.
WALK_PATIENCE = 1.0
# A rate over less than this says nothing.
SHORTEST_WINDOW_NS = 100_000_000


class InterfaceStats(msgspec.Struct, frozen=True):
    """Counters of one network interface."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class SandboxStats:
    """Reads usage; remembers per group when it last looked, for rates."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._last: dict[str, tuple[int, int, int]] = {}
        self._disk: dict[str, tuple[float, int, int]] = {}

    def containers(self, wanted: cri.ContainerStatsFilter) -> list[cri.ContainerStats]:
        """Usage of every running container that matches."""
        chosen = cri.ContainerFilter(
            id=wanted.id, pod_sandbox_id=wanted.pod_sandbox_id, label_selector=wanted.label_selector
        )
        running = (one for one in self._machine.ledger.containers() if one.phase is Phase.RUNNING)
        return [self.container(one) for one in running if views.container_wanted(one, chosen)]

    def container(self, record: ContainerEntry) -> cri.ContainerStats:
        """Usage of one container."""
        usage, now, config = cgroups.ControlGroup(record.cgroup).usage(), time.time_ns(), record.parsed()
        used, inodes = self.layer(record)
        return cri.ContainerStats(
            attributes=cri.ContainerAttributes(
                id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
            ),
            cpu=self._cpu(record.id, usage, now),
            memory=_memory(usage, now),
            writable_layer=cri.FilesystemUsage(
                timestamp=now,
                fs_id=cri.FilesystemIdentifier(mountpoint=str(self._machine.settings.root)),
                used_bytes=cri.UInt64Value(value=used),
                inodes_used=cri.UInt64Value(value=inodes),
            ),
            swap=_swap(accounting.figures(record.cgroup), now),
        )

    def sandboxes(self, wanted: cri.PodSandboxStatsFilter) -> list[cri.PodSandboxStats]:
        """Usage of every standing sandbox that matches."""
        chosen = cri.PodSandboxFilter(id=wanted.id, label_selector=wanted.label_selector)
        standing = (one for one in self._machine.ledger.sandboxes() if one.phase is Phase.READY)
        return [self.sandbox(one) for one in standing if views.sandbox_wanted(one, chosen)]

    def sandbox(self, record: SandboxEntry) -> cri.PodSandboxStats:
        """Usage of one sandbox: the sum of its containers, and its network."""
        now, config = time.time_ns(), record.parsed()
        running = [one for one in self._machine.ledger.containers(record.id) if one.phase is Phase.RUNNING]
        usage = total([cgroups.ControlGroup(one.cgroup).usage() for one in running])
        linux = cri.LinuxPodSandboxStats(
            cpu=self._cpu(record.id, usage, now),
            memory=_memory(usage, now),
            network=_network(interfaces(running), now),
            process=cri.ProcessUsage(timestamp=now, process_count=cri.UInt64Value(value=usage.pids)),
            containers=[self.container(one) for one in running],
        )
        attributes = cri.PodSandboxAttributes(
            id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        )
        return cri.PodSandboxStats(attributes=attributes, linux=linux)

    def _cpu(self, key: str, usage: cgroups.CgroupUsage, now: int) -> cri.CpuUsage:
        before, used, rate = self._last.get(key, (0, 0, 0))
        if now - before > SHORTEST_WINDOW_NS:
            rate = max(usage.cpu_ns - used, 0) * 1_000_000_000 // (now - before) if before else 0
            self._last[key] = (now, usage.cpu_ns, rate)
        return cri.CpuUsage(
            timestamp=now,
            usage_core_nano_seconds=cri.UInt64Value(value=usage.cpu_ns),
            usage_nano_cores=cri.UInt64Value(value=rate),
        )

    def layer(self, record: ContainerEntry) -> tuple[int, int]:
        """Bytes and inodes of a container's writable layer, as walked last; zeros before the first walk."""
        _, used, inodes = self._disk.get(record.id, (0.0, 0, 0))
        return used, inodes

    async def look(self) -> None:
        """Have the writable layers walked that were not lately; wait a moment for it, and no longer."""
        if not self._stale():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WALK_PATIENCE):
                await self._machine.flights.join("a look at the writable layers", self._walk)

    def _stale(self) -> list[ContainerEntry]:
        since = time.monotonic() - DISK_SECONDS
        running = (one for one in self._machine.ledger.containers() if one.phase is Phase.RUNNING)
        return [one for one in running if one.id not in self._disk or self._disk[one.id][0] < since]

    async def _walk(self) -> None:
        self._forget()
        ended = threading.Event()
        try:
            for record in self._stale():
                layers = self._machine.settings.layers(record.id)
                used, inodes = await asyncio.to_thread(disk_usage, layers / "upper", ended)
                if (volumes := layers / declared_volumes.FOLDER).is_dir():
                    more = await asyncio.to_thread(disk_usage, volumes, ended)
                    used, inodes = used + more[0], inodes + more[1]
                self._disk[record.id] = (time.monotonic(), used, inodes)
        finally:
            ended.set()

    def _forget(self) -> None:
        """Drop what is remembered of containers and sandboxes that are gone."""
        ledger = self._machine.ledger
        known = {one.id for one in ledger.containers()} | {one.id for one in ledger.sandboxes()}
        self._last = {key: value for key, value in self._last.items() if key in known}
        self._disk = {key: value for key, value in self._disk.items() if key in known}


def total(usages: Sequence[cgroups.CgroupUsage]) -> cgroups.CgroupUsage:
    """The sum of several groups."""
    names = cgroups.CgroupUsage.__struct_fields__
    return cgroups.CgroupUsage(**{name: sum(getattr(one, name) for one in usages) for name in names})


def interfaces(running: Sequence[ContainerEntry]) -> list[InterfaceStats]:
    """Counters of the pod's interfaces but the loopback, seen through any process in it."""
    for record in running:
        try:
            # Whoever may change the pod's network names its interfaces, by any bytes but a few.
            lines = Path(f"/proc/{record.pid}/net/dev").read_text(errors="replace").split("\n")[2:-1]
        except OSError:
            continue
        return [found for found in map(_interface, lines) if found.name != "lo"]
    return []


def _interface(line: str) -> InterfaceStats:
    name, _, counters = line.partition(":")
    numbers = [int(word) for word in counters.split()]
    return InterfaceStats(name.strip(), *numbers[0:4], *numbers[8:12])


def _memory(usage: cgroups.CgroupUsage, now: int) -> cri.MemoryUsage:
    available = max(usage.memory_limit - usage.working_set_bytes, 0) if usage.memory_limit else 0
    return cri.MemoryUsage(
        timestamp=now,
        working_set_bytes=cri.UInt64Value(value=usage.working_set_bytes),
        available_bytes=cri.UInt64Value(value=available),
        usage_bytes=cri.UInt64Value(value=usage.memory_bytes),
        rss_bytes=cri.UInt64Value(value=usage.rss_bytes),
        page_faults=cri.UInt64Value(value=usage.page_faults),
        major_page_faults=cri.UInt64Value(value=usage.major_page_faults),
    )


def _swap(figures: accounting.CgroupFigures, now: int) -> cri.SwapUsage:
    return cri.SwapUsage(
        timestamp=now,
        swap_available_bytes=cri.UInt64Value(value=max(figures.swap_limit - figures.swap_bytes, 0)),
        swap_usage_bytes=cri.UInt64Value(value=figures.swap_bytes),
    )


def _network(found: Sequence[InterfaceStats], now: int) -> cri.NetworkUsage | None:
    """None of a pod without interfaces: a kubelet 1.36 takes the first for there, and ends where it is not."""
    if not found:
        return None
    told = [
        cri.NetworkInterfaceUsage(
            name=one.name,
            rx_bytes=cri.UInt64Value(value=one.rx_bytes),
            rx_errors=cri.UInt64Value(value=one.rx_errors),
            tx_bytes=cri.UInt64Value(value=one.tx_bytes),
            tx_errors=cri.UInt64Value(value=one.tx_errors),
        )
        for one in found
    ]
    return cri.NetworkUsage(timestamp=now, default_interface=told[0], interfaces=told[1:])
