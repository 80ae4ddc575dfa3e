"""Bytes and entries below a folder, however deep it is: by descriptors, as a path has an end that a tree has not.
Looked at as often as is cheap: a walk of a million files takes seconds.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

# Who moves each folder away that is looked at has the way to the next searched from the top, so many folders in all;
# beyond, no more than there are entries.
SEARCHED = 10_000
# What was seen is told again for so many seconds, or times as long as the look took: a twentieth of a core at most.
FRESH, SPARED = 5.0, 20.0
MOST_FOLDERS = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level(NamedTuple):
    """A folder on the way down: its name in the one above, which one it is, and its folders that are yet to be seen."""

    name: str
    identity: tuple[int, int]
    left: list[str]


def disk_usage(folder: Path, ended: threading.Event) -> tuple[int, int]:
    """Bytes and entries below a folder; what cannot be seen is not counted. Slow, so in a thread; nobody wants the
    answer once `ended` is set.
    """
    try:
        top = os.open(folder, _FOLDER)
    except OSError:
        return 0, 0
    with _Walk(top) as walk:
        while not ended.is_set() and walk.step():
            pass
        return walk.used, walk.entries


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


class _Walk:
    """Holds two descriptors: the top, and the folder that is looked at."""

    def __init__(self, top: int) -> None:
        self.used = self.entries = 0
        self._searched = 0
        self._top = top
        self._here = os.dup(top)
        self._levels: list[_Level] = []

    def __enter__(self) -> Self:
        self._look("")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._here)
        os.close(self._top)

    def step(self) -> bool:
        """Go one folder down, or one up; False where all has been seen."""
        if not self._levels:
            return False
        left = self._levels[-1].left
        if left:
            name = left.pop()
            with suppress(OSError):
                self._move(os.open(name, _FOLDER, dir_fd=self._here))
                self._look(name)
            return True
        self._levels.pop()
        self._up()
        return bool(self._levels)

    def _look(self, name: str) -> None:
        """Count what is in the folder that was entered."""
        folders: list[str] = []
        self._levels.append(_Level(name, _identity(self._here), folders))
        with suppress(OSError), os.scandir(self._here) as listed:
            for entry in listed:
                with suppress(OSError):  # gone by now
                    self.used += entry.stat(follow_symlinks=False).st_blocks * 512
                    self.entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)

    def _up(self) -> None:
        """To the folder above; where this one was moved meanwhile, by the names that led here, as far as they do.

        What is left is not counted once too much was searched for.
        """
        if not self._levels:
            return
        with suppress(OSError):
            above = os.open("..", _FOLDER, dir_fd=self._here)
            if _identity(above) == self._levels[-1].identity:
                self._move(above)
                return
            os.close(above)
        self._move(os.dup(self._top))
        for depth, level in enumerate(self._levels[1:], 1):
            try:
                below = os.open(level.name, _FOLDER, dir_fd=self._here)
            except OSError:
                del self._levels[depth:]
                return
            if _identity(below) != level.identity:
                os.close(below)
                del self._levels[depth:]
                return
            self._move(below)
            self._searched += 1
            if self._searched > SEARCHED + self.entries:
                self._levels.clear()
                return

    def _move(self, there: int) -> None:
        os.close(self._here)
        self._here = there


def _identity(folder: int) -> tuple[int, int]:
    seen = os.fstat(folder)
    return seen.st_dev, seen.st_ino
