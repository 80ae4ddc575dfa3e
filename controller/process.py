"""What every process of the controller's is as one: alone in its folder, its log, its descriptors, and its end.

Whoever runs rooms here gives `run` a coroutine; a fault that a person can act on comes out of it as that fault.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from cellwire.faults import Fault, Kind
from hostkit import collection, locks, syscalls
from hostkit.resolving_loop import ResolvingLoop

# As the unit in deploy/systemd says: ten thousand cells, and what a quarter kept from strangers leaves.
DESCRIPTORS = 65_536
# Of freed memory: a list of 500 containers takes three times its 400 KB while it is written.
KEPT_BYTES = 8 << 20
# Seconds: one that was killed holds its folder until the programs that it was about to run have begun.
SUCCESSION = 5.0


def run(main: Callable[[], Coroutine[Any, Any, None]], state: Path, log_level: str, name: str) -> None:
    """Run a process whose folder is `state`, called `name` where it fails, until its `main` ends. Raises Fault."""
    _log_to_stderr(log_level)
    _raise_descriptors()
    syscalls.keep_freed(KEPT_BYTES)
    collection.space_out()
    try:
        with _alone(state, name), asyncio.Runner(loop_factory=ResolvingLoop) as runner:
            runner.run(main())
    except BaseExceptionGroup as group:
        raise _told(group, name) or group from None
    except OSError as error:
        raise Fault(Kind.UNAVAILABLE, name, str(error)) from error


def descriptors(soft: int, hard: int) -> int:
    """How many files and connections may be open: as many as allowed, up to `DESCRIPTORS`, never fewer than now."""
    allowed = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    return soft if soft == resource.RLIM_INFINITY else max(soft, allowed)


def _raise_descriptors() -> None:
    """Cells, strangers, sessions and copies of logs have a descriptor or more each; 1,024 is the usual soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(soft, hard), hard))


class Stop:
    """Told by a signal; a second one exits at once."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(self._heard, number))

    @asynccontextmanager
    async def opening(self) -> AsyncGenerator[None]:
        """What is opened within is given up where the signal comes before `wait`: cells may be waited for meanwhile."""
        try:
            async with asyncio.timeout(None) as self._limit:
                yield
        except TimeoutError:
            if not self.told.is_set():
                raise

    async def wait(self) -> None:
        """Until the signal; from now on nothing is cut off."""
        if self.told.is_set():
            await asyncio.sleep(1)  # the end of the opening is on its way
        self._limit = None
        await self.told.wait()

    def _heard(self, number: int) -> None:
        if self.told.is_set():
            os._exit(128 + number)
        self.told.set()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())


def _log_to_stderr(level: str) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    # What is shared with the agent, and libraries, use the standard library's; those say much at lower levels.
    form = "timestamp='%(asctime)s' level='%(levelname)s' event=%(message)r logger='%(name)s'"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=form, force=True)
    for ours in ("cellwire", "controller", "hostkit"):
        logging.getLogger(ours).setLevel(level.upper())


@contextmanager
def _alone(state: Path, name: str) -> Generator[None]:
    """Two on one folder would each end what the other has begun."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.file(state / "lock") as lock:
        if not locks.take(lock) and not asyncio.run(locks.wait(lock, SUCCESSION)):
            mend = "stop that one, or give this one a state folder of its own"
            raise Fault(Kind.EXISTS, f"state {state}", f"another {name} has it", mend)
        yield


def _told(group: BaseExceptionGroup[BaseException], name: str) -> Fault | None:
    """The fault that a person can act on; None where there is anything in the group that only a programmer can."""
    errors = list(_leaves(group))
    if not all(isinstance(error, (Fault, OSError)) for error in errors):
        return None
    faults = [error for error in errors if isinstance(error, Fault)]
    return faults[0] if faults else Fault(Kind.UNAVAILABLE, name, str(errors[0]))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
