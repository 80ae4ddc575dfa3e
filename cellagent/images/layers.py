"""The layers of one image: fetched several at once, unpacked while they arrive, told in order when they are whole.

Each is unpacked by a process of its own that is locked into the layer's folder (see unpack and extract). Folders that
a layer uses without describing them take their attributes from the layers below, and whiteouts of what no layer below
has go, as if the layers were laid over each other one by one. What other machines have brought to where all share it
(`shared`) is used where it lies.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from cellagent.images import unpackers
from cellagent.images.extract import OPAQUE_XATTR
from cellagent.images.manifest import Descriptor, chain_ids
from cellagent.images.messages import LayerReady, Unpacked
from cellagent.images.shared import SharedLayers
from cellagent.images.unpackers import Blobs, LayerListener, Unpackers
from cellwire.faults import Fault

AT_ONCE = 3
NONE_SHARED = SharedLayers("")
_SHARED = "its layers are on their way to all cells of this machine"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StackListener(LayerListener, Protocol):
    """Listener to an image's layers on their way."""

    def fetching(self) -> AbstractContextManager[None]:
        """While it lasts, one layer more is on its way."""
        ...

    def ready(self, layer: LayerReady) -> None:
        """A layer is whole, and so are those below it."""
        ...


class Stack:
    """The layers of one image on their way; the listener hears of things as they happen."""

    def __init__(
        self,
        layers: Sequence[Descriptor],
        diff_ids: Sequence[str],
        *,
        present: dict[str, str],
        work: str,
        listener: StackListener,
        shared: SharedLayers = NONE_SHARED,
    ) -> None:
        self.chain = chain_ids(diff_ids)
        self._layers = layers
        self._diff_ids = diff_ids
        self._shared = shared
        self._folders = [present.get(chain) or f"{work}/layer-{n}" for n, chain in enumerate(self.chain)]
        # Open folders of whole layers: their paths change when the parent takes them over.
        self._roots = {n: os.open(present[chain], _OPEN) for n, chain in enumerate(self.chain) if chain in present}
        self._untold = deque(n for n, chain in enumerate(self.chain) if chain not in present)
        found = ((n, shared.find(self.chain[n])) for n in self._untold)
        self._whole: dict[int, Unpacked | LayerReady] = {n: layer for n, layer in found if layer is not None}
        self._missing = [n for n in self._untold if n not in self._whole]
        self._listener = listener

    @property
    def missing(self) -> list[int]:
        """Layers, by number from the lowest, that must be fetched."""
        return self._missing

    async def fetch(self, blobs: Blobs) -> None:
        """Fetch and unpack what is missing, once. Raises Fault."""
        slots = asyncio.Semaphore(AT_ONCE)
        try:
            self._tell()
            if not self._missing:
                return
            self._shared.announce(self.chain[number] for number in self._missing)
            async with unpackers.running(self._shared.room) as processes, asyncio.TaskGroup() as group:
                for number in self._missing:
                    await slots.acquire()
                    group.create_task(self._one(number, blobs, slots, processes))
        finally:
            for descriptor in self._roots.values():
                os.close(descriptor)
            self._shared.close()

    async def _one(self, number: int, blobs: Blobs, slots: asyncio.Semaphore, processes: Unpackers) -> None:
        layer = self._layers[number]
        try:
            with self._listener.fetching():
                self._whole[number] = await self._had(number, blobs, processes)
        except Fault as fault:
            if fault.thing != "layer":
                raise
            raise Fault(fault.kind, f"layer {layer.digest}", fault.cause, fault.mend, reason=fault.reason) from fault
        finally:
            slots.release()
        self._tell()

    async def _had(self, number: int, blobs: Blobs, processes: Unpackers) -> Unpacked | LayerReady:
        with self._listener.held(_SHARED):
            found = await self._shared.waited_for(self.chain[number], lambda: self._listener.arrived(0))
        if found is not None:
            return found
        folder = self._folders[number]
        Path(folder).mkdir(mode=0o755)
        return await processes.unpack(folder, self._layers[number], self._diff_ids[number], blobs, self)

    def arrived(self, count: int) -> None:
        """As a layer's listener: both those who wait for this pull and those who wait for what it shares hear it."""
        self._shared.go_on()
        self._listener.arrived(count)

    def held(self, why: str) -> AbstractContextManager[None]:
        """As a layer's listener."""
        return self._listener.held(why)

    def _tell(self) -> None:
        """Tell of layers that are whole and have only whole ones below them."""
        while self._untold and (number := self._untold[0]) in self._whole:
            self._untold.popleft()
            done = self._whole.pop(number)
            ready = done if isinstance(done, LayerReady) else self._finished(number, done)
            self._roots[number] = os.open(ready.folder, _OPEN)
            if isinstance(done, Unpacked):
                below = [self._roots[n] for n in reversed(range(number))]
                inherit(self._roots[number], done.implicit, below)
                forget_idle_whiteouts(self._roots[number], done.whiteouts, below)
            self._shared.go_on()
            self._listener.ready(ready)

    def _finished(self, number: int, done: Unpacked) -> LayerReady:
        return LayerReady(
            chain_id=self.chain[number],
            diff_id=self._diff_ids[number],
            digest=self._layers[number].digest,
            folder=self._folders[number],
            size=done.size,
            unpacked=done.unpacked,
            entries=done.entries,
            taken=done.taken,
        )


def inherit(folder: int, implicit: Sequence[bytes], below: Sequence[int]) -> None:
    """Give folders that no entry described the attributes that the layers `below` (topmost first) have for them.

    All are open folders.
    """
    for name in implicit:
        parts = name.split(b"/")
        found = _find_below(parts, below)
        own = _walk(folder, parts)[0]
        if found is None or own is None:
            for descriptor in (found, own):
                if descriptor is not None:
                    os.close(descriptor)
            continue
        _copy_attributes(found, own)


def forget_idle_whiteouts(folder: int, whiteouts: Sequence[bytes], below: Sequence[int]) -> None:
    """Remove whiteouts of names that none of the layers `below` (topmost first) shows: in a folder that only one layer
    has, the kernel would list them. All are open folders.
    """
    for name in whiteouts:
        *parts, base = name.split(b"/")
        parent, hidden = _walk(folder, parts)
        if parent is None:
            continue
        try:
            hidden = hidden or _is_opaque(parent)
            if hidden or not _shows(parts, base, below):
                os.unlink(base, dir_fd=parent)
        finally:
            os.close(parent)


def _shows(parts: Sequence[bytes], base: bytes, below: Sequence[int]) -> bool:
    for layer in below:
        parent, hidden = _walk(layer, parts)
        if parent is not None:
            try:
                if (seen := _seen(base, parent)) is not None:
                    return not (stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0)
                hidden = hidden or _is_opaque(parent)
            finally:
                os.close(parent)
        if hidden:
            return False
    return False


def _seen(name: bytes, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _find_below(parts: Sequence[bytes], below: Sequence[int]) -> int | None:
    for layer in below:
        descriptor, hidden = _walk(layer, parts)
        if descriptor is not None or hidden:
            return descriptor
    return None


def _walk(root: int, parts: Sequence[bytes]) -> tuple[int | None, bool]:
    """An open folder `parts` below `root`, no symlink followed, if there is one; and whether the layer hides what is
    there in the layers below it.
    """
    here = os.open(".", _OPEN, dir_fd=root)
    hidden = False
    for part in parts:
        hidden = hidden or _is_opaque(here)
        try:
            following = os.open(part, _OPEN, dir_fd=here)
        except FileNotFoundError:
            os.close(here)
            return None, hidden
        except OSError:
            os.close(here)
            return None, True
        os.close(here)
        here = following
    return here, hidden


def _is_opaque(descriptor: int) -> bool:
    try:
        return os.getxattr(descriptor, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _copy_attributes(source: int, target: int) -> None:
    try:
        seen = os.fstat(source)
        os.fchown(target, seen.st_uid, seen.st_gid)
        os.fchmod(target, stat.S_IMODE(seen.st_mode))
        os.utime(target, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    finally:
        os.close(source)
        os.close(target)
