"""How much folders hold on disk, looked at as often as is cheap: a walk of a million files takes seconds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from cellagent.runtime.stats.folder_walk import disk_usage

# What was seen is told again for so many seconds, or times as long as the look took: a twentieth of a core at most.
FRESH, SPARED = 5.0, 20.0
MOST_FOLDERS = 256


class FolderSizes:
    """Looks at folders, and remembers what it saw."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        self._turn = asyncio.Lock()

    async def of(self, folder: str) -> int:
        """Bytes below a folder; 0 where there is none."""
        async with self._turn:
            until, held = self._seen.get(folder, (0.0, 0))
            begun = self._clock()
            if begun < until:
                return held
            ended = threading.Event()
            try:
                held, _ = await asyncio.to_thread(disk_usage, Path(folder), ended)
            finally:
                ended.set()
            now = self._clock()
            while len(self._seen) >= MOST_FOLDERS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[folder] = (now + max(FRESH, SPARED * (now - begun)), held)
            return held
