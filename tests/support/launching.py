"""Several launches at once, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cellwire.faults import Kind
from controller.clouds.protocol import Cloud, LaunchOutcome, LaunchRequest


async def launched_all(cloud: Cloud, requests: Iterable[LaunchRequest]) -> tuple[LaunchOutcome, ...]:
    """All of them at once; outcomes in their order."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(cloud.launch(request)) for request in requests]
    return tuple(task.result() for task in asked)


def kind_of(outcome: LaunchOutcome) -> Kind | None:
    """Of the fault; None where there is none."""
    return outcome.fault.kind if outcome.fault is not None else None
