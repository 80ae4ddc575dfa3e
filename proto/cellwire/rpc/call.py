"""The one door through which every unary gRPC call of ours goes, and the fence around every streaming one.

grpclib 0.4.9 wakes its waiters with `task.cancel()` and never takes the request back, so that after an expired or
broken call `current_task().cancelling()` stays raised, and an `asyncio.timeout` further out ends in CancelledError.
Calls on our own channels (`mended`) take it back, each its own; a channel of grpclib's is not for `call` and
`translate_errors`, which turn grpclib's exceptions into faults and see to it that a caller who was asked to cancel is
cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import H2Error

from cellwire.faults import Fault, Kind
from cellwire.rpc.status import fault_of

Request_contra = TypeVar("Request_contra", contravariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)


class UnaryMethod(Protocol[Request_contra, Reply_co]):
    """A method of a generated stub, as `stub.Version`."""

    async def __call__(self, message: Request_contra, *, timeout: float | None = None) -> Reply_co:
        """Send one message, await one."""
        ...


@contextmanager
def translate_errors() -> Generator[None]:
    """Raise Fault for what grpclib or protobuf raises; CancelledError for any once the task was asked to cancel."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as error:
        if task and task.cancelling() > before:
            # It came in the way out, and whoever takes it for a fault would go on for ever.
            raise asyncio.CancelledError from error
        if isinstance(error, (GRPCError, StreamTerminatedError, ProtocolError, DecodeError, H2Error, OSError)):
            if isinstance(error, TimeoutError):
                raise
            raise fault_of(error) from error
        raise


async def call(method: UnaryMethod[Request_contra, Reply_co], message: Request_contra, *, deadline: float) -> Reply_co:
    """Call `method` with `message`, for at most `deadline` seconds. Raises Fault and nothing else."""
    try:
        async with asyncio.timeout(deadline):
            with translate_errors():
                # The server's copy of the deadline is later than ours, so that ours is the one that fires.
                return await method(message, timeout=deadline + 1)
    except TimeoutError as error:
        name = getattr(method, "name", "").rsplit("/", 1)[-1] or "the call"
        raise Fault(Kind.TIMEOUT, name, f"it was not answered within {deadline:g} s") from error
