"""Changing the limits of a container that is there: written to its spec, and told to the kernel where it runs."""

from __future__ import annotations

import os

import msgspec

from cellagent.kernel import cgroups
from cellagent.runtime import bundle, views
from cellagent.runtime.conmon import plain_words
from cellagent.runtime.ledger import Phase
from cellagent.runtime.machine import Machine
from cellagent.runtime.spec.cgroup import enforceable
from cellwire.cri.unlimited import UNLIMITED, settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import programs

UPDATE_DEADLINE = 20.0


async def update(machine: Machine, container_id: str, asked: cri.LinuxContainerResources) -> None:
    """Apply what is given and keep the rest. Raises Fault where this machine cannot give it."""
    asked = settled(asked)
    record = machine.ledger.container(container_id)
    name = record.parsed().metadata.name
    if record.phase is Phase.EXITED:
        raise Fault(Kind.PRECONDITION, f"container {name}", "it has exited, so its limits cannot change")
    require_machine(f"limits of container {name}", asked)
    merged = merge(views.resources(record), asked)
    v2 = cgroups.layout() is cgroups.Layout.V2
    wanted = enforceable(f"container {name}", merged, cgroups.controllers(), v2=v2, cpu_bound=cgroups.cpu_bound())
    if record.phase is Phase.RUNNING:
        _holds(asked, name, cgroups.ControlGroup(record.cgroup).usage())
        argv = [str(machine.runtime.path), "--root", str(machine.settings.oci), "update", "--resources", "-", record.id]
        done = await programs.run(argv, stdin=msgspec.json.encode(wanted), deadline=UPDATE_DEADLINE)
        if done.returncode:
            raise Fault(Kind.BROKEN, f"limits of container {name}", plain_words(done.words))
    folder = machine.settings.bundle(record.id)
    spec = bundle.read_spec(folder)
    spec["linux"]["resources"] = {**spec["linux"].get("resources", {}), **wanted}
    bundle.write_spec(folder, spec)
    record = machine.ledger.container(record.id)
    machine.ledger.put_container(msgspec.structs.replace(record, resources=merged.SerializeToString()))


def merge(known: cri.LinuxContainerResources, asked: cri.LinuxContainerResources) -> cri.LinuxContainerResources:
    """The limits after a change: what is not said stays, and zero is CRI's "not said". Pure."""
    merged = cri.LinuxContainerResources()
    merged.CopyFrom(known)
    if asked.hugepage_limits:
        del merged.hugepage_limits[:]  # merging would append to them
    merged.MergeFrom(asked)
    if asked.memory_limit_in_bytes == UNLIMITED and merged.memory_swap_limit_in_bytes:
        # Memory and swap together cannot be limited where memory is not.
        merged.memory_swap_limit_in_bytes = UNLIMITED
    return merged


def _holds(asked: cri.LinuxContainerResources, name: str, usage: cgroups.CgroupUsage) -> None:
    """Refuse a memory limit below what the container holds and the kernel cannot take back. Pure.

    Version 1 would refuse it by itself; version 2 takes the limit and then kills until what is left fits.
    """
    if 0 < asked.memory_limit_in_bytes < usage.rss_bytes:
        held, wanted = usage.rss_bytes >> 20, asked.memory_limit_in_bytes >> 20
        cause = f"it holds {held} MiB and a limit of {wanted} MiB is wanted, for which the kernel would kill it"
        raise Fault(Kind.PRECONDITION, f"limits of container {name}", cause, "let it use less first, or start it anew")


def require_machine(thing: str, asked: cri.LinuxContainerResources) -> None:
    """Raises Fault NO_CAPACITY where more is asked than this machine has: it cannot grow."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if asked.memory_limit_in_bytes > memory:
        cause = f"{asked.memory_limit_in_bytes >> 20} MiB are wanted and this machine has {memory >> 20} MiB"
        raise Fault(Kind.NO_CAPACITY, thing, cause, "start the pod anew with larger limits")
    cpus = os.cpu_count() or 1
    if asked.cpu_quota > 0 and asked.cpu_quota > cpus * (asked.cpu_period or 100_000):
        wanted = asked.cpu_quota / (asked.cpu_period or 100_000)
        cause = f"{wanted:g} CPUs are wanted and this machine has {cpus}"
        raise Fault(Kind.NO_CAPACITY, thing, cause, "start the pod anew with larger limits")
