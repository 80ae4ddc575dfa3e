"""Ends instances, many by one call. One id that EC2 refuses never keeps the rest alive."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.batcher import Batcher
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.model.names import InstanceId


class Terminator:
    """See the module."""

    def __init__(self, settings: Ec2Settings, calls: Calls, tasks: asyncio.TaskGroup) -> None:
        self._calls = calls
        self._batches: Batcher[str, InstanceId, Fault | None] = Batcher(
            tasks, self._run, settings.idle_seconds, settings.window_seconds, settings.most_batched
        )

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """Ask for their end; unknown ones have ended. Raises the first Fault, when all the others were asked for."""
        results = await self._batches.ask("", {str(instance): instance for instance in instances})
        for fault in results.values():
            if fault is not None:
                # A fault is raised for each who asked: one object would collect all their tracebacks.
                raise Fault(fault.kind, fault.thing, fault.cause, fault.mend, reason=fault.reason)

    def close(self) -> None:
        """Give up what is on its way."""
        self._batches.close()

    async def _run(self, group: str, items: Mapping[str, InstanceId]) -> dict[str, Fault | None]:
        del group
        results: dict[str, Fault | None] = dict.fromkeys(items)
        await self._end(sorted(items), results)
        return results

    async def _end(self, ids: list[str], results: dict[str, Fault | None]) -> None:
        """End these; where EC2 refuses, without those that it names, else in halves."""
        while ids:
            try:
                # What is asked to end has told all that it had: its system need not stop in order, at our cost.
                await self._calls.call(
                    "ec2", "TerminateInstances", resources=len(ids), InstanceIds=ids, SkipOsShutdown=True
                )
                return
            except Fault as fault:
                unknown = errors.ids_named(fault.cause) & set(ids) if fault.kind is Kind.NOT_FOUND else frozenset[str]()
                if unknown:
                    ids = [one for one in ids if one not in unknown]
                    continue
                if len(ids) == 1 and (fault.kind is Kind.NOT_FOUND or fault.reason == "InvalidInstanceID.Malformed"):
                    return
                if len(ids) == 1 or fault.kind in {Kind.UNAVAILABLE, Kind.DENIED}:
                    results.update(dict.fromkeys(ids, fault))
                    return
                half = len(ids) // 2
                await self._end(ids[:half], results)
                ids = ids[half:]
