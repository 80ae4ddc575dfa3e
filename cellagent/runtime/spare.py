"""A container's folders on disk, made ahead while nobody waits: the next container takes them by one rename.

There is at most one set. It lies beside the folders of containers, so that nobody takes it for one's, and an agent that
is killed leaves a whole set or one that the next makes whole.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

FOLDERS = ("upper", "work", "rootfs")


class SpareLayers:
    """The set at one path. What it does takes as long as the disk does."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        # Two that made one set at once would take it from each other half made.
        self._making = threading.Lock()

    def prepare(self) -> None:
        """Have a set there. A disk that takes none now is told of where a container is made."""
        with self._making, suppress(OSError):
            if not os.path.exists(self._path):
                _make(f"{self._path}.new")
                os.rename(f"{self._path}.new", self._path)

    def take(self, layers: Path) -> None:
        """Have the folders of a container's layers there, of the set where there is one. Raises OSError."""
        try:
            os.rename(self._path, layers)
        except OSError:
            _make(str(layers))


def _make(layers: str) -> None:
    for folder in (layers, *(f"{layers}/{name}" for name in FOLDERS)):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755)
