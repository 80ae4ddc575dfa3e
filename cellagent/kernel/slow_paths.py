"""Paths that may lie on a dead file system (a hard NFS mount, a FUSE server that hangs), which never answer.

Each look has a thread of its own, since a thread that is held by the kernel can neither be ended nor used again. All
who ask for one path share its look: a pod that is tried again for hours holds one thread, not a thousand.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cellwire.faults import Fault, Kind

# A server that is slow to wake answers within seconds; a kubelet waits two minutes in all.
SECONDS = 20.0


class SlowPaths:
    """Work on paths that may never answer, as far as it is under way."""

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[Path]] = {}

    async def places(self, paths: Mapping[str, str]) -> dict[str, Path]:
        """Where each path leads in the end; where nothing is, a folder is made. Their values say what they are for.

        Raises Fault TIMEOUT for a path that does not answer, INVALID for one that cannot be.
        """
        looks = {path: self._pending.get(path) or self._begin(path) for path in paths}
        if not looks:
            return {}
        _, late = await asyncio.wait(looks.values(), timeout=SECONDS)
        for path, look in looks.items():
            if look in late:
                cause = f"the file system of {path} has not answered for {SECONDS:g} s"
                raise Fault(Kind.TIMEOUT, paths[path], cause, "see to the server behind it, or unmount it")
            if error := look.exception():
                words = error.strerror if isinstance(error, OSError) else str(error)
                raise Fault(Kind.INVALID, paths[path], f"{path}: {words}") from error
        return {path: look.result() for path, look in looks.items()}

    def _begin(self, path: str) -> asyncio.Future[Path]:
        loop = asyncio.get_running_loop()
        look: asyncio.Future[Path] = loop.create_future()
        self._pending[path] = look
        threading.Thread(target=self._look, args=(path, look, loop), name=f"look at {path}", daemon=True).start()
        return look

    def _look(self, path: str, look: asyncio.Future[Path], loop: asyncio.AbstractEventLoop) -> None:
        try:
            tell = partial(look.set_result, place(path))
        except (OSError, ValueError) as error:
            tell = partial(look.set_exception, error)

        def told() -> None:
            self._pending.pop(path, None)
            tell()
            look.exception()  # whoever waits is told; that nobody does any more is no fault

        try:
            loop.call_soon_threadsafe(told)
        except RuntimeError:
            pass  # the agent has ended meanwhile


def place(path: str) -> Path:
    """The end of a path's links; a folder is made where nothing is. Takes as long as the disk does. Raises OSError."""
    source = Path(os.path.realpath(path))
    if not source.exists():
        # Another look may make it meanwhile, for a path below it or for another container.
        source.mkdir(parents=True, mode=0o755, exist_ok=True)
    return source
