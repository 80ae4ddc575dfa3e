"""Threads for calls that nothing can stop, as the system's resolver's, which waits for a silent name server for tens of
seconds. Those of Python's executors are waited for, at a loop's end or the interpreter's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
MOST_THREADS = 32


class DaemonThreads(ThreadPoolExecutor):
    """An executor for which nobody waits: its threads end with the process, and what they do must be worth nothing by
    then.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__(most)
        self._most = most
        self._lock = threading.Lock()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._working = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See Executor."""
        future: Future[T] = Future()
        with self._lock:
            self._calls.append((future, partial(fn, *args, **kwargs)))
            if self._working < self._most:
                threading.Thread(target=self._work, name="call", daemon=True).start()
                self._working += 1
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  Executor's
        """Nothing: see the class."""

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._working -= 1
                    return
                future, call = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  it is raised where the call is awaited
                future.set_exception(error)
            else:
                future.set_result(result)
