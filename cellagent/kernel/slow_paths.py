"""Paths that may lie on a dead file system (a hard NFS mount, a FUSE server that hangs), which never answer.

Each look has a thread of its own, since a thread that is held by the kernel can neither be ended nor used again. All
who ask for one path share its look: a pod that is tried again for hours holds one thread, not a thousand.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cellagent.kernel import inside
from cellwire.faults import Fault, Kind

# A server that is slow to wake answers within seconds; a kubelet waits two minutes in all.
SECONDS = 20.0
# Of a container that cannot be had with such a mount, as a kubelet says it.
REFUSED = "CreateContainerConfigError"


class SlowPaths:
    """Work on paths that may never answer, as far as it is under way."""

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[Path]] = {}

    async def places(self, paths: Mapping[str, str]) -> dict[str, Path]:
        """Where each path leads in the end; where nothing is, a folder is made. Their values say what they are for.

        Raises Fault TIMEOUT for a path that does not answer, INVALID for one that cannot be.
        """
        return await self._found({path: partial(place, path) for path in paths}, paths)

    async def parts(self, parts: Mapping[tuple[Path, str], str]) -> None:
        """Have each part of a volume there, as a folder where nothing is; never outside of the volume.

        Raises Fault as `places` does; INVALID, too, for a part that leads out of its volume.
        """
        things = {f"{root}/./{part}": thing for (root, part), thing in parts.items()}
        looks = {f"{root}/./{part}": partial(_make_part, root, part) for root, part in parts}
        await self._found(looks, things)

    async def _found(self, wanted: Mapping[str, Callable[[], Path]], paths: Mapping[str, str]) -> dict[str, Path]:
        looks = {path: self._pending.get(path) or self._begin(path, look) for path, look in wanted.items()}
        if not looks:
            return {}
        _, late = await asyncio.wait(looks.values(), timeout=SECONDS)
        for path, look in looks.items():
            if look in late:
                cause = f"the file system of {path} has not answered for {SECONDS:g} s"
                raise Fault(Kind.TIMEOUT, paths[path], cause, "see to the server behind it, or unmount it")
            if error := look.exception():
                if isinstance(error, Fault):
                    raise Fault(error.kind, paths[path], error.cause, reason=error.reason) from error
                words = error.strerror if isinstance(error, OSError) else str(error)
                raise Fault(Kind.INVALID, paths[path], f"{path}: {words}") from error
        return {path: look.result() for path, look in looks.items()}

    def _begin(self, path: str, find: Callable[[], Path]) -> asyncio.Future[Path]:
        loop = asyncio.get_running_loop()
        look: asyncio.Future[Path] = loop.create_future()
        self._pending[path] = look
        threading.Thread(target=self._look, args=(path, find, look, loop), name=f"look at {path}", daemon=True).start()
        return look

    def _look(
        self, path: str, find: Callable[[], Path], look: asyncio.Future[Path], loop: asyncio.AbstractEventLoop
    ) -> None:
        try:
            tell = partial(look.set_result, find())
        except (OSError, ValueError, Fault) as error:
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


def not_had(part: str, error: OSError) -> Fault:
    """Why a part of a volume cannot be had. Pure."""
    if error.errno == errno.EXDEV:
        cause = f"subPath {part!r} is outside of the volume: it, or a symbolic link in it, leads out"
    elif error.errno == errno.ENOENT:
        cause = f"subPath {part!r} cannot be had: a symbolic link in it leads to nothing"
    else:
        cause = f"subPath {part!r} cannot be had: {error.strerror}"
    return Fault(Kind.INVALID, "part of a volume", cause, reason=REFUSED)


def _make_part(root: Path, part: str) -> Path:
    try:
        inside.make_part(root, part)
    except OSError as error:
        raise not_had(part, error) from error
    return root / part
