"""Namespaces that live without a process: made on a thread of their own, then pinned as files.

A thread that has left its namespaces is never used for anything else.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from cellagent.kernel import mounts
from cellwire.faults import Fault, Kind

FLAGS = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}
Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)


async def create(
    folder: Path, kinds: Collection[str], *, hostname: str = "", sysctls: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Make namespaces of these kinds and pin each as a file in `folder`; what a killed agent left is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    remove(folder)
    paths = {kind: folder / kind for kind in kinds}

    def make() -> None:
        _check(_libc.unshare(sum(FLAGS[kind] for kind in kinds)), "unshare")
        if "uts" in paths and hostname:
            name = hostname.encode()
            _check(_libc.sethostname(name, len(name)), f"hostname {hostname}")
        for name, text in (sysctls or {}).items():
            _sysctl(name, text)
        thread = f"/proc/self/task/{threading.get_native_id()}/ns"
        for kind, path in paths.items():
            path.touch()
            mounts.mount(f"{thread}/{kind}", str(path), "", mounts.MS_BIND)

    await on_own_thread(make)
    return paths


def remove(folder: Path) -> None:
    """Unpin; a namespace in which nothing runs is gone with that. What is not there is no error."""
    for kind in FLAGS:
        path = folder / kind
        if path.exists():
            mounts.unmount(path)
            path.unlink(missing_ok=True)


async def inside(netns: Path, function: Callable[[], Result]) -> Result:
    """Run a short function in a network namespace, on a thread that ends with it."""

    def enter() -> Result:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(descriptor, FLAGS["net"]), f"entering {netns}")
        finally:
            os.close(descriptor)
        return function()

    return await on_own_thread(enter)


async def on_own_thread(function: Callable[[], Result]) -> Result:
    """The result of a function that runs on a thread of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
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


def _sysctl(name: str, text: str) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    try:
        path.write_text(text)
    except OSError as error:
        raise Fault(Kind.INVALID, f"sysctl {name}={text}", str(error.strerror)) from error


def _check(result: int, what: str) -> None:
    if result != 0:
        raise Fault(Kind.BROKEN, what, os.strerror(ctypes.get_errno()))
