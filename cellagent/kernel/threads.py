"""Work on a thread of its own, which ends with the work.

Namespaces belong to threads: one that has left its own is never used for anything else.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cellwire.faults import Fault, Kind

CLONE_FS = 0x00000200
FLAGS = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000, "pid": 0x20000000, "user": 0x10000000, "mnt": 0x20000}
Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)


async def on_own_thread(function: Callable[[], Result], *, undo: Callable[[], object] | None = None) -> Result:
    """The result of a function that runs on a thread of its own.

    A thread cannot be stopped: where the caller is cancelled, `undo` is called when the function has ended after all.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            if error is None and undo is not None:
                undo()
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType]

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 # it is the caller's to see
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=work, daemon=True).start()
    return await done


def leave(*kinds: str) -> None:
    """Give this thread new namespaces."""
    _check(_libc.unshare(sum(FLAGS[kind] for kind in kinds)), f"new namespaces {' '.join(kinds)}")


def leave_folder() -> None:
    """Give this thread a root and a working folder apart from the process', which entering a mount namespace wants."""
    _check(_libc.unshare(CLONE_FS), "a root of the thread's own")


def enter(path: Path, kind: str) -> None:
    """Move this thread into the namespace that a file stands for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Fault(Kind.NOT_FOUND, f"namespace {path}", "it is gone") from error
    try:
        _check(_libc.setns(descriptor, FLAGS[kind]), f"entering {path}")
    finally:
        os.close(descriptor)


def set_hostname(name: str) -> None:
    """The host name of this thread's uts namespace."""
    text = name.encode()
    _check(_libc.sethostname(text, len(text)), f"hostname {name}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise Fault(Kind.BROKEN, what, os.strerror(ctypes.get_errno()))
