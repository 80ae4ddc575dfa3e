"""A call of grpclib's that settles: the request to cancel that a broken or expired call leaves on its task is taken
back, exactly; and an answer that is no gRPC is an error like another.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

from grpclib.client import Stream
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.utils import DeadlineWrapper, Wrapper

from cellwire.rpc.limited_protocol import LimitedStream
from cellwire.rpc.limits import LONGEST


class _Settled(Wrapper):
    """Wakes the tasks inside it with an error, and takes back exactly the requests to cancel that it made."""

    def __init__(self) -> None:
        super().__init__()
        self._entered: dict[asyncio.Task[Any], int] = {}
        self._woken: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> None:
        # As Wrapper's, which asks for the task once more, as does its end: a call goes in and out five times.
        if self._error is not None:
            raise self._error
        task = _current()
        self._tasks.add(task)
        self._entered[task] = task.cancelling()

    def cancel(self, error: Exception) -> None:
        if self._error is None:  # a connection is told of its end more than once
            self._woken = set(self._tasks)
            super().cancel(error)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        task = _current()
        before = self._entered.pop(task, task.cancelling())
        self._tasks.discard(task)
        if task in self._woken:
            self._woken.discard(task)
            if task.uncancel() > before:
                raise asyncio.CancelledError from None
        if self._error is not None:
            super().__exit__(exc_type, exc_val, exc_tb)


class _SettledDeadline(_Settled, DeadlineWrapper):
    """The same with a deadline."""


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a gRPC call needs a task")
    return task


@contextmanager
def _understood(call: Stream[Any, Any]) -> Generator[None]:
    """Grpclib trusts who answers: what is no gRPC makes it stumble, in as many ways as it has assumptions."""
    try:
        try:
            yield
        except StreamTerminatedError:
            # A server that refuses a call resets what is still being sent: its status came first, and is what it says.
            call._maybe_raise()  # noqa: SLF001 # as grpclib itself does at a call's end
            raise
    except (AssertionError, NotImplementedError, LookupError, ValueError, RecursionError) as error:
        sentence = f"the answer: it is no gRPC ({type(error).__name__}: {error})"
        raise GRPCError(Status.INTERNAL, sentence) from error


class SettledCall(Stream[Any, Any]):
    """A call that leaves its task's cancel count as it was."""

    async def recv_initial_metadata(self) -> None:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood(self):
            await super().recv_initial_metadata()

    async def recv_message(self) -> Any:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood(self):
            return await super().recv_message()

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        """As Stream's. Raises GRPCError where the answer is there, and is one."""
        with _understood(self):
            await super().send_message(message, end=end)

    async def recv_trailing_metadata(self) -> None:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood(self):
            await super().recv_trailing_metadata()

    async def send_request(self, *, end: bool = False) -> None:
        """As Stream's; the answers of some methods may not be as long as those of others."""
        await super().send_request(end=end)
        longest = LONGEST.get(self._method_name)
        stream = cast("LimitedStream", self._stream)
        if longest is not None and cast("Any", self._channel).by_method:
            stream.longest = longest

    async def __aenter__(self) -> Stream[Any, Any]:
        if self._deadline is None:
            self._wrapper = _Settled()
        else:
            wrapper = _SettledDeadline()
            self._wrapper = wrapper
            self._wrapper_ctx = wrapper.start(self._deadline)
            self._wrapper_ctx.__enter__()
        return self
