"""Work that must not stop half-way because its caller went away, and that two callers share.

A kubelet whose deadline passed asks again; the second call must join the first one's work, not start another. Each
piece of work is a task of the room, known by a key while it runs; callers only wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from cellwire.faults import Fault, Kind

Result = TypeVar("Result")


class Flights:
    """Running work by key. Owned by the room whose TaskGroup it is given."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: dict[str, _Flight] = {}

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work known by `key`, which is started unless it is under way."""
        flight = self._running.get(key)
        if flight is None:
            flight = self._running[key] = _Flight()
            self._group.create_task(self._fly(key, flight, work), name=key)
        await flight.ended.wait()
        if flight.error is not None:
            raise flight.error
        return cast("Result", flight.result)

    async def _fly(self, key: str, flight: _Flight, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            flight.result = await work()
        except Exception as error:  # noqa: BLE001  it is the caller's, and is raised there
            flight.error = error
        except asyncio.CancelledError:
            flight.error = Fault(Kind.UNAVAILABLE, key, "the agent is stopping", "ask again once it is back")
            raise
        finally:
            self._running.pop(key, None)
            flight.ended.set()


class _Flight:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.result: object = None
        self.error: Exception | None = None
