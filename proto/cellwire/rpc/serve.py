"""Servers of ours: faults become statuses, anything else a short INTERNAL with the traceback in the log.

`prepared` makes a grpclib Server whose connections come from elsewhere (a turned connection, a forked port);
`serving` listens on a unix socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from grpclib.const import Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError, StreamTerminatedError

from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.limits import CELL, MessageLimits
from cellwire.rpc.status import error_of

if TYPE_CHECKING:
    from grpclib._typing import IServable

log = logging.getLogger(__name__)
Handler = Callable[[Any], Coroutine[Any, Any, None]]


def prepared(handlers: Collection[IServable], *, details: bool, limits: MessageLimits = CELL) -> MendedServer:
    """A server that knows these services. `details` where the other end is ours too: a foreign client would take
    them for a google.rpc.Status.
    """
    server = MendedServer(handlers, limits, details=details)

    async def guard(event: RecvRequest) -> None:
        event.method_func = cast("Any", _guarded(event.method_func, details=details))

    listen(server, RecvRequest, guard)
    return server


@asynccontextmanager
async def serving(handlers: Collection[IServable], path: Path) -> AsyncGenerator[None]:
    """Serve on a unix socket that only its owner may open; a socket left by a dead process is replaced."""
    server = prepared(handlers, details=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    await server.start(path=str(path))
    path.chmod(0o600)
    try:
        yield
    finally:
        server.close()
        try:
            async with asyncio.timeout(5):
                await server.wait_closed()
        except TimeoutError:
            log.warning("calls on %s did not end in time", path)
        path.unlink(missing_ok=True)


def _told(fault: Fault, *, details: bool) -> GRPCError:
    """The error for the caller. Who raises it gives it no name: its traceback would keep itself and the call."""
    error = error_of(fault)
    return error if details else GRPCError(error.status, error.message)


def _guarded(handler: Handler, *, details: bool) -> Handler:
    answered = _answered(handler, details=details)

    async def guarded(stream: Any) -> None:
        try:
            await answered(stream)
        except GRPCError as error:
            # Of a call that is over meanwhile nobody hears; grpclib tells of a handler then that will not be cancelled,
            # with a traceback.
            if stream._stream.wrapper.cancelled:  # noqa: SLF001
                raise asyncio.CancelledError from error
            raise

    return guarded


def _answered(handler: Handler, *, details: bool) -> Handler:
    """The handler, all of whose ends are such as gRPC tells a caller."""

    async def answered(stream: Any) -> None:
        try:
            await handler(stream)
        except Fault as fault:
            raise _told(fault, details=details) from fault
        except (GRPCError, StreamTerminatedError):
            raise
        except TimeoutError as error:
            raise GRPCError(Status.DEADLINE_EXCEEDED, "the deadline of the call has passed") from error
        except ExceptionGroup as group:
            faults = [each for each in group.exceptions if isinstance(each, Fault)]
            if not faults:
                log.exception("a call failed")
                raise GRPCError(Status.INTERNAL, "an internal error; see the log") from group
            error = error_of(faults[0])
            raise error if details else GRPCError(error.status, error.message) from group
        except Exception as error:
            if isinstance(error, ValueError) and "embedded null" in str(
                error
            ):  # Python's words for what no path can have
                invalid = error_of(Fault(Kind.INVALID, "the request", "a name or path in it has a zero byte"))
                raise invalid if details else GRPCError(invalid.status, invalid.message) from error
            log.exception("a call failed")
            raise GRPCError(Status.INTERNAL, f"an internal error, {type(error).__name__}; see the log") from error

    return answered
