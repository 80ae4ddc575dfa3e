"""Tasks that outlive their callers, calls that several share, and locks by key.

Every task is started in a TaskGroup that somebody awaits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary

from cellwire.faults import Fault, Kind

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class KeyedLocks(Generic[Key]):
    """One lock a key, `async with locks[key]`. None outlives the last who holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def __len__(self) -> int:
        return len(self._locks)


class Finishing:
    """Does work to its end in `tasks`, whatever happens to who asked: a write, and what is believed because of it.

    A caller who is cancelled between the two, as a kubelet's call is when its deadline passes, would part memory and
    store.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def done(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for the work; it goes on without us. Raises what it raises."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_settle(work, result))
        return await result

    def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """For one who does not wait, and for whom a failure is only worth a line in the log."""
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        result.cancel()
        self._tasks.create_task(_settle(work, result))


class Singleflight:
    """Work by key in a TaskGroup, shared by all who ask for it while it runs, and done to its end whoever goes away.

    A kubelet whose deadline passed asks again: the second call joins the first one's work, and starts no other. `stop`
    ends all, so that the group can close.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._shared: dict[str, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work known by `key`, which is started unless it is under way."""
        call = self._shared.get(key)
        if call is None:
            call = self._shared[key] = _Call()
            self._start(self._fly(key, call, work), key)
        await call.ended.wait()
        if call.error is not None:
            raise call.error
        return cast("Result", call.result)

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

    async def _fly(self, key: str, call: _Call, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            call.result = await work()
        except Exception as error:  # noqa: BLE001  it is the caller's, and is raised there
            call.error = error
        except asyncio.CancelledError:
            call.error = Fault(Kind.UNAVAILABLE, key, "this process is stopping", "ask again once it is back")
            raise
        finally:
            self._shared.pop(key, None)
            call.ended.set()

    async def _alone(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Fault as fault:
            log.warning("%s: %s", name, fault)
        except Exception:
            log.exception("%s failed", name)


class _Call:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.result: object = None
        self.error: Exception | None = None


async def _settle(work: Coroutine[Any, Any, Result], done: asyncio.Future[Result]) -> None:
    try:
        result = await work
    except Exception as error:  # noqa: BLE001 # it is the caller's, and raised there
        if done.cancelled():
            log.info("work failed, and nobody waits for it: %s", error)
        else:
            done.set_exception(error)
    else:
        if not done.cancelled():
            done.set_result(result)
    finally:
        # Only if we were cancelled ourselves.
        if not done.done():
            done.cancel()
