"""Every task of a running daemon and where it waits, written down when somebody asks by a signal.

For a person whose controller or agent stands still: `kill -USR1` and read standard error.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import AsyncGeneratorType, FrameType
from typing import Any, TextIO

NUMBER = signal.SIGUSR1


@contextmanager
def told_on_signal(stream: TextIO | None = None) -> Generator[None]:
    """Write all tasks of the running loop to a stream (standard error) whenever SIGUSR1 comes."""
    loop = asyncio.get_running_loop()

    def tell() -> None:
        print(described(asyncio.all_tasks(loop)), file=stream or sys.stderr, flush=True)

    loop.add_signal_handler(NUMBER, tell)
    try:
        yield
    finally:
        loop.remove_signal_handler(NUMBER)


def described(tasks: set[asyncio.Task[Any]]) -> str:
    """A paragraph for each task: its name, and each function on its way to what it waits for, outermost first."""
    paragraphs = sorted("\n".join([f"task {one.get_name()}", *_way(one.get_coro())]) for one in tasks)
    return "\n".join([f"{len(tasks)} tasks", *paragraphs])


def _way(awaited: Any) -> list[str]:
    lines: list[str] = []
    while awaited is not None:
        frame = _of(awaited, "frame")
        if isinstance(frame, FrameType):
            lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
        elif not lines or _of(awaited, "await") is None:
            lines.append(f"  {type(awaited).__name__}")
        awaited = _of(awaited, "await")
    return lines


def _of(awaited: Any, what: str) -> Any:
    """A coroutine, a generator and an asynchronous generator say the same under three names."""
    if what == "await":
        names = ("cr_await", "gi_yieldfrom", "ag_await")
    else:
        names = ("cr_frame", "gi_frame", "ag_frame")
    for name in names:
        if hasattr(awaited, name):
            return getattr(awaited, name)
    if what == "await":
        # A step of an asynchronous generator tells nobody of which, but the collector.
        return next((one for one in gc.get_referents(awaited) if isinstance(one, AsyncGeneratorType)), None)
    return None
