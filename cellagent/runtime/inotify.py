"""Being told of changes in a folder by the kernel, on the loop's own thread.

One descriptor for any number of folders. A watcher is woken, not given a list: it looks for itself at what it waits
for, so that an event lost or doubled does no harm.
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

_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
CHANGES = _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
ARRIVALS = _CLOSE_WRITE | _MOVED_TO

_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)

Woken = Callable[[str], None]


class Inotify:
    """Calls a function with a file's name whenever that file changes in a watched folder."""

    def __init__(self) -> None:
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise Fault(Kind.BROKEN, "inotify", os.strerror(ctypes.get_errno()), "raise fs.inotify.max_user_instances")
        self._watches: dict[int, list[Woken]] = {}
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def watch(self, folder: Path, mask: int, woken: Woken) -> Callable[[], None]:
        """Call `woken` for each change below `folder`. Returns what ends it."""
        number = int(_libc.inotify_add_watch(self._fd, os.fsencode(folder), mask))
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
                number, _, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                for woken in tuple(self._watches.get(number, ())):
                    woken(name)
