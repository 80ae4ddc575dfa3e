"""Being told by the kernel that a folder of this worker has changed, on the loop's own thread.

A watcher is woken, not given a list: it looks for itself, so that an event lost or doubled does no harm.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellwire.faults import Fault, Kind

_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _CLOSE_WRITE = 0x40, 0x80, 0x100, 0x200, 0x8
_CHANGES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _CLOSE_WRITE
_IGNORED, _OVERFLOW = 0x8000, 0x4000
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)

Woken = Callable[[], None]


class Inotify:
    """Calls functions when something is made, moved, written or removed in a watched folder."""

    def __init__(self) -> None:
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise Fault(Kind.BROKEN, "inotify", os.strerror(ctypes.get_errno()), "raise fs.inotify.max_user_instances")
        self._watches: dict[int, list[Woken]] = {}
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def watch(self, folder: Path, woken: Woken) -> Callable[[], None]:
        """Call `woken` after each change in `folder`. Returns what ends it. Raises Fault."""
        number = int(_libc.inotify_add_watch(self._fd, os.fsencode(folder), _CHANGES))
        if number < 0:
            why = os.strerror(ctypes.get_errno())
            raise Fault(Kind.BROKEN, f"watch of {folder}", why, "raise fs.inotify.max_user_watches")
        self._watches.setdefault(number, []).append(woken)

        def end() -> None:
            listeners = self._watches.get(number, [])
            with suppress(ValueError):
                listeners.remove(woken)
            if not listeners and self._watches.pop(number, None) is not None:
                _libc.inotify_rm_watch(self._fd, number)

        return end

    def close(self) -> None:
        """No more calls."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._fd, 64 * 1024)
            position = 0
            while position < len(data):
                number, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size + length
                self._heard(number, mask)

    def _heard(self, number: int, mask: int) -> None:
        if mask & _IGNORED:
            # The folder is gone, and the kernel may give its number to another.
            self._watches.pop(number, None)
            return
        told = self._watches.values() if mask & _OVERFLOW else [self._watches.get(number, [])]
        for listeners in tuple(told):
            for woken in tuple(listeners):
                woken()
