"""inotify: being told by the kernel that a folder has changed, on the loop's own thread.

One descriptor for any number of folders. A watcher is woken, not given a list: it looks for itself at what it waits
for, so that an event lost or doubled does no harm.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import syscalls

_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
CHANGES = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
WRITES = CHANGES | _MODIFY
ARRIVALS = _CLOSE_WRITE | _MOVED_TO
# Two watchers of one folder share its watch: the second adds to what the first wants to hear of.
_MASK_ADD = 0x20000000
_IGNORED, _OVERFLOW = 0x8000, 0x4000
_HEADER = struct.Struct("iIII")

# Where the kernel does not tell.
POLL = 1.0
_UNTOLD = "%s: %s; what changes is looked for every %.1f s instead; %s"

log = logging.getLogger(__name__)
Woken = Callable[[str], None]


class Inotify:
    """Calls functions with the name of what is made, moved, written or removed in a watched folder.

    The name is empty where events were lost, so that everything is to be looked at. Where the kernel's limits leave no
    instance or watch, that is said in the log, and all are called so every now and then.
    """

    def __init__(self) -> None:
        self._watches: dict[int, list[Woken]] = {}
        self._blind: list[Woken] = []
        """Who is woken now and then, since the kernel does not tell."""
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._fd = syscalls.inotify_init()
        except OSError as error:
            self._fd = -1
            log.warning(_UNTOLD, "inotify", error.strerror, POLL, "raise fs.inotify.max_user_instances")
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def watch(self, folder: Path, mask: int, woken: Woken) -> Callable[[], None]:
        """Call `woken` after each change in `folder`. Returns what ends it. Raises Fault."""
        if self._fd < 0:
            return self._poll(woken)
        try:
            number = syscalls.inotify_add(self._fd, str(folder), mask | _MASK_ADD)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                log.warning(_UNTOLD, folder, "its watches are used up", POLL, "raise fs.inotify.max_user_watches")
                return self._poll(woken)
            raise Fault(Kind.BROKEN, f"watch of {folder}", str(error.strerror)) from error
        self._watches.setdefault(number, []).append(woken)

        def end() -> None:
            listeners = self._watches.get(number, [])
            with suppress(ValueError):
                listeners.remove(woken)
            if not listeners and self._watches.pop(number, None) is not None:
                syscalls.inotify_remove(self._fd, number)

        return end

    def close(self) -> None:
        """No more calls."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd < 0:
            return
        # The number may be another's afterwards, and there are watches yet to end.
        descriptor, self._fd = self._fd, -1
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _poll(self, woken: Woken) -> Callable[[], None]:
        self._blind.append(woken)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL, self._look)

        def end() -> None:
            with suppress(ValueError):
                self._blind.remove(woken)

        return end

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL, self._look) if self._blind else None
        for woken in tuple(self._blind):
            woken("")

    def _read(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._fd, 64 * 1024)
            position = 0
            while position < len(data):
                number, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                self._heard(number, mask, name)

    def _heard(self, number: int, mask: int, name: str) -> None:
        if mask & _IGNORED:
            # The folder is gone, and the kernel may give its number to another.
            self._watches.pop(number, None)
            return
        told = self._watches.values() if mask & _OVERFLOW else [self._watches.get(number, [])]
        for listeners in tuple(told):
            for woken in tuple(listeners):
                woken(name)
