"""Unpacked layers that machines share: a folder which one writer fills, and which everybody else has read-only.

    <chain id>/                  an unpacked layer, complete by the time it is here
    <chain id>.json              what it is; there before the layer
    <chain id>-<whence>.coming   locked by the process that is about to put the layer here, from a repository so called;
                                 its time is that of the last progress with the image

A layer is in it under the chain id that its content was verified to have, so a reader asks its own registry whether it
may have an image, and needs no word of anybody about what is in a layer. It waits for layers that come from its own
repository only: another's could promise every layer, and be slow for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from cellagent.images.messages import LayerReady

_LOOK_SECONDS = 0.05
# Who holds a lock without bringing the layer is not waited for longer, and who makes no progress is given up sooner.
PATIENCE, STANDSTILL = 300.0, 15.0
_TOLD_SECONDS = 0.5


def name_of(chain_id: str) -> str:
    """A layer's name in the folder."""
    return chain_id.partition(":")[2]


def shared_layers(root: Path) -> Path | None:
    """The folder below the agent's root, where this machine has one: it is read-only, or it is somebody else's."""
    folder = root / "shared"
    with contextlib.suppress(OSError):
        if folder.is_dir() and os.statvfs(folder).f_flag & os.ST_RDONLY:
            return folder
    return None


class SharedLayers:
    """The folder as one pull of a repository has it; no folder is an empty one that nobody fills. Who fills it has
    `room` in bytes, and tells readers of the layers that it is about to put there, until it has them, or until its
    process ends, however it does.
    """

    def __init__(self, folder: str, *, repository: str = "", room: int = 0) -> None:
        self._folder = Path(folder) if folder else None
        self._whence = hashlib.sha256(repository.encode()).hexdigest()[:16]
        self.room = room
        self._held: list[tuple[int, Path]] = []
        self._next = 0.0

    def find(self, chain_id: str) -> LayerReady | None:
        """A layer, if it is there."""
        if self._folder is None:
            return None
        folder = self._folder / name_of(chain_id)
        if not folder.is_dir():
            return None
        try:
            found = msgspec.json.decode(folder.with_suffix(".json").read_bytes(), type=LayerReady)
        except (OSError, msgspec.DecodeError):
            return None
        return msgspec.structs.replace(found, folder=str(folder), shared=True) if found.chain_id == chain_id else None

    async def waited_for(self, chain_id: str, moves: Callable[[], None]) -> LayerReady | None:
        """A layer, if it is there or another process brings it; `moves` is called where that makes progress."""
        if self.room:
            return None
        last = 0
        try:
            async with asyncio.timeout(PATIENCE), asyncio.timeout(STANDSTILL) as standstill:
                while (found := self.find(chain_id)) is None and (moved := self._coming_at(chain_id)) is not None:
                    if moved != last:
                        last = moved
                        standstill.reschedule(asyncio.get_running_loop().time() + STANDSTILL)
                        moves()
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            return None
        return found or self.find(chain_id)

    def announce(self, chain_ids: Iterable[str]) -> None:
        """Tell readers of layers, where this fills the folder. Raises OSError."""
        if not self.room or self._folder is None:
            return
        for chain_id in chain_ids:
            path = self._coming(self._folder, chain_id)
            own = path.with_name(f"{path.name}-{os.getpid()}")
            descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._held.append((descriptor, path))
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own.rename(path)

    def go_on(self) -> None:
        """Tell those who wait for the announced layers that there is progress. Raises OSError."""
        if self._held and (now := time.monotonic()) >= self._next:
            self._next = now + _TOLD_SECONDS
            for descriptor, _ in self._held:
                os.utime(descriptor)

    def close(self) -> None:
        """Let readers look for what is there."""
        for descriptor, path in self._held:
            # It may be that of another process with the same promise: its layers are no longer waited for.
            path.unlink(missing_ok=True)
            os.close(descriptor)
        self._held.clear()

    def _coming(self, folder: Path, chain_id: str) -> Path:
        return folder / f"{name_of(chain_id)}-{self._whence}.coming"

    def _coming_at(self, chain_id: str) -> int | None:
        """When there was progress with a layer that is coming, by a clock of no use but to compare."""
        if self._folder is None:
            return None
        try:
            descriptor = os.open(self._coming(self._folder, chain_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
        return None


def put(folder: Path, layer: LayerReady) -> None:
    """Put a complete layer into the shared folder, unless it is there. Raises OSError."""
    target = folder / name_of(layer.chain_id)
    if not target.is_dir():
        about = target.with_name(f"{target.name}.json-{os.getpid()}")
        about.write_bytes(msgspec.json.encode(layer))
        about.rename(target.with_suffix(".json"))
        # Somebody else may have put it there meanwhile: it is the same.
        try:
            Path(layer.folder).rename(target)
        except OSError:
            if not target.is_dir():
                raise
