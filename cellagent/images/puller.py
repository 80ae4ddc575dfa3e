"""The resident side of a pull: starts the pull child, follows it, hands its layers to the store.

Pulls of one reference with the same credentials share one child; other credentials are another pull, since who may
not see an image must not profit from who may. The child dies when its last caller has gone.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from cellagent.images import child_processes, pipe_frames, reference
from cellagent.images.image_source import Image
from cellagent.images.messages import (
    Credentials,
    Failure,
    LayerReady,
    PullDelayed,
    Pulled,
    PullMessage,
    PullProgress,
    PullRequest,
    RegistrySettings,
)
from cellagent.images.reference import Reference
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform
from cellwire.proxies import DIRECT, Proxies
from hostkit.children import Child

END_SECONDS = 3.0
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
}


class PullStore(Protocol):
    """Store into which pulls go."""

    @property
    def freed(self) -> Callable[[], None]:
        """Called at the end of each pull."""
        ...

    def present(self) -> dict[str, str]:
        """Complete layers by chain id."""
        ...

    def work_folder(self) -> Path:
        """A new empty folder for one pull. Raises OSError."""
        ...

    def done_with(self, work: Path) -> None:
        """A pull has ended."""
        ...

    def adopt(self, layer: LayerReady, now: float) -> None:
        """Take over a complete layer. Raises OSError."""
        ...

    def add(self, wanted: Reference, pulled: Pulled) -> Image:
        """Take note of a pulled image, whose layers have all been adopted. Raises Fault, OSError."""
        ...


class _SharedPull:
    """One pull and those who wait for it."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.outcome: Image | Fault | None = None
        self.waiters = 0
        self.task: asyncio.Task[None] | None = None


class Puller:
    """Pulls into `store`. `group` owns the pulls. With `room`, in bytes, it fills the folder of `shared` layers."""

    def __init__(
        self,
        store: PullStore,
        group: asyncio.TaskGroup,
        on_progress: Callable[[PullProgress | PullDelayed], None],
        *,
        stall_seconds: float,
        proxies: Proxies = DIRECT,
        shared: Path | None = None,
        room: int = 0,
    ) -> None:
        self.registries: tuple[RegistrySettings, ...] = ()
        self._proxies = proxies
        self._store = store
        self._group = group
        self._on_progress = on_progress
        self._stall_seconds = stall_seconds
        self._shared = str(shared or "")
        self._room = room
        self.ending = 0
        """Pulls whose callers have gone and whose processes have not yet."""
        self._running: dict[tuple[str, Credentials], _SharedPull] = {}

    @property
    def busy(self) -> bool:
        """Whether any pull is under way. Its layers belong to no image yet."""
        return bool(self._running or self.ending)

    async def pull(self, text: str, credentials: Credentials) -> Image:
        """Pull an image, or wait for the same pull that somebody else has begun. Raises Fault."""
        wanted = reference.parse(text)
        key = (str(wanted), credentials)
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _SharedPull()
            shared.task = self._group.create_task(self._run(key, shared, wanted, credentials))
        shared.waiters += 1
        try:
            await shared.done.wait()
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.done.is_set() and shared.task:
                shared.task.cancel()
                self.ending += 1
                self._running.pop(key, None)
        if isinstance(shared.outcome, Image):
            return shared.outcome
        raise _again(shared.outcome, wanted)

    def stop(self) -> None:
        """End all pulls."""
        for shared in list(self._running.values()):
            if shared.task:
                shared.task.cancel()

    async def _run(
        self, key: tuple[str, Credentials], shared: _SharedPull, wanted: Reference, credentials: Credentials
    ) -> None:
        try:
            shared.outcome = await self._pull(wanted, credentials)
        except Fault as fault:
            shared.outcome = fault
        except msgspec.DecodeError as error:
            cause = f"the pull process answered what cannot be read ({error})"
            shared.outcome = Fault(Kind.BROKEN, f"image {wanted}", cause, "pull again")
        except OSError as error:
            shared.outcome = Fault(Kind.UNAVAILABLE, f"image {wanted}", str(error), "look at this cell's disk")
        finally:
            shared.done.set()
            if self._running.get(key) is shared:
                del self._running[key]
            else:
                self.ending -= 1
            self._store.freed()

    async def _pull(self, wanted: Reference, credentials: Credentials) -> Image:
        work = self._store.work_folder()
        request = PullRequest(
            reference=str(wanted),
            work=str(work),
            platform=this_platform(),
            registries=self.registries,
            proxies=self._proxies,
            credentials=credentials,
            present=self._store.present(),
            shared=self._shared,
            room=self._room,
            stall_seconds=self._stall_seconds,
            asked_at=time.monotonic(),
        )
        try:
            process = await child_processes.start(["cellagent.images.pull_process"])
            try:
                image = await self._follow(process, request, wanted)
            except BaseException:
                await child_processes.end(process, grace=END_SECONDS)
                raise
            await child_processes.end(process, grace=0)  # it has nothing more to do
            return image
        finally:
            self._store.done_with(work)

    async def _follow(self, process: Child, request: PullRequest, wanted: Reference) -> Image:
        if process.stdin is None:
            raise RuntimeError("the pull child has no input")
        # Its stdin stays open: when this process dies, the child reads the end and dies too.
        process.stdin.write(pipe_frames.encoded(request))
        if process.stdout is None:
            raise RuntimeError("the pull child has no output")
        # PullMessage is a union, for which type[] has no word.
        told = cast("AsyncGenerator[PullMessage]", child_processes.messages(process.stdout, cast("Any", PullMessage)))
        async with aclosing(told):
            async for message in told:
                match message:
                    case PullProgress() | PullDelayed() as progress:
                        self._on_progress(progress)
                    case LayerReady() as layer:
                        self._store.adopt(layer, asyncio.get_running_loop().time())
                    case Failure() as failure:
                        raise failure.fault()
                    case Pulled() as pulled:
                        return self._store.add(wanted, pulled)
        code = await process.wait()
        cause = f"the pull process ended with code {code} and no answer"
        raise Fault(Kind.BROKEN, f"image {wanted}", cause, "see the agent's log; pull again")


def this_platform() -> Platform:
    """The platform of this machine."""
    machine = platform.machine()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def _again(fault: Fault | None, wanted: Reference) -> Fault:
    """A fault of its own for each waiter: a traceback must not grow over several tasks."""
    if fault is None:
        return Fault(Kind.UNAVAILABLE, f"image {wanted}", "the pull was stopped", "pull again")
    return Fault(fault.kind, fault.thing, fault.cause, fault.mend, reason=fault.reason)
