"""The room's own tasks: work that must not stop half-way because its caller went away, and that two callers share.

A kubelet whose deadline passed asks again; the second call must join the first one's work, not start another. Each
piece of work is a task of the room, known by a key while it runs; callers only wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from cellwire.faults import Fault, Kind

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Flights:
    """Running work by key, in the room's TaskGroup. `stop` ends it all, so that the group can close."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._shared: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work known by `key`, which is started unless it is under way."""
        flight = self._shared.get(key)
        if flight is None:
            flight = self._shared[key] = _Flight()
            self._start(self._fly(key, flight, work), key)
        await flight.ended.wait()
        if flight.error is not None:
            raise flight.error
        return cast("Result", flight.result)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Work that nobody waits for; what goes wrong is in the log."""
        self._start(self._alone(work, name), name)

    def stop(self) -> None:
        """Cancel everything."""
        for task in tuple(self._tasks):
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, key: str, flight: _Flight, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            flight.result = await work()
        except Exception as error:  # noqa: BLE001  it is the caller's, and is raised there
            flight.error = error
        except asyncio.CancelledError:
            flight.error = Fault(Kind.UNAVAILABLE, key, "the agent is stopping", "ask again once it is back")
            raise
        finally:
            self._shared.pop(key, None)
            flight.ended.set()

    async def _alone(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Fault as fault:
            log.warning("%s: %s", name, fault)
        except Exception:
            log.exception("%s failed", name)


class _Flight:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.result: object = None
        self.error: Exception | None = None
