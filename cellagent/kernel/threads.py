"""Work on a thread of its own, which ends with the work.

Namespaces belong to threads: one that has left its own is never used for anything else.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cellwire.faults import Fault, Kind
from hostkit import syscalls

FLAGS = {
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "pid": syscalls.CLONE_NEWPID,
    "user": syscalls.CLONE_NEWUSER,
    "mnt": syscalls.CLONE_NEWNS,
}
Result = TypeVar("Result")


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
    with _told(f"new namespaces {' '.join(kinds)}"):
        syscalls.unshare(sum(FLAGS[kind] for kind in kinds))


def leave_folder() -> None:
    """Give this thread a root and a working folder apart from the process', which entering a mount namespace wants."""
    with _told("a root of the thread's own"):
        syscalls.unshare(syscalls.CLONE_FS)


def enter(path: Path, kind: str) -> None:
    """Move this thread into the namespace that a file stands for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Fault(Kind.NOT_FOUND, f"namespace {path}", "it is gone") from error
    try:
        with _told(f"entering {path}"):
            syscalls.setns(descriptor, FLAGS[kind])
    finally:
        os.close(descriptor)


def set_hostname(name: str) -> None:
    """The host name of this thread's uts namespace."""
    with _told(f"hostname {name}"):
        syscalls.sethostname(name)


@contextmanager
def _told(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Fault(Kind.BROKEN, what, str(error.strerror)) from error
