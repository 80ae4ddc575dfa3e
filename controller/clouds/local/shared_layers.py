"""Layers that the instances of this machine share: processes of this machine bring them, instances only read them.

    shared/<generation>/layers    what instances see; a layer is there whole, under the digest that it was found to have
    shared/<generation>/work      what is on its way

An instance asks the registry itself whether a pod may have its image; here only the layers are. Nothing is removed from
a generation, since running containers stand on it: when one is full a new one begins, and the old one goes with the
last instance that was booted with it. What was written before this machine booted is not trusted: it may be half there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import structlog

from cellwire.faults import Fault
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.protocol import Login
from hostkit import pids, programs

log = structlog.get_logger()
_AT_ONCE = 2
# What could not be had, which its pod is told, is not asked for by each of many pods.
_AGAIN_SECONDS = 60.0
_LONGEST_SECONDS = 1800.0
_MOST_KNOWN = 10_000


class _Wanted(msgspec.Struct, frozen=True):
    image: str
    login: Login | None


class _Reply(msgspec.Struct, frozen=True):
    image_id: str = ""
    unpacked: int = 0
    fault: str = ""


class LayerShare:
    """See the module. `prepare` it first."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._root = settings.root / "shared"
        self._limit = settings.shared_layers_gib << 30
        self._queue: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._under_way: set[str] = set()
        self._had: dict[str, str] = {}
        """The image that each reference stood for when its layers came."""
        self._resting: dict[str, float] = {}
        self._bytes = 0
        self.generation = ""
        """What an instance is booted with that boots now; "" where nothing is shared."""

    def prepare(self) -> None:
        """Go on with the last generation, or begin one. Raises OSError."""
        if not self._limit:
            return
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        own = sorted(path.name for path in self._root.iterdir() if path.name.startswith(f"{pids.boot_id()}-"))
        self.generation = own[-1] if own else self._begun()

    def folder(self, generation: str) -> Path:
        """What instances of a generation see."""
        return self._root / generation / "layers"

    def want(self, image: str, login: Login | None, image_id: str = "") -> None:
        """Have an image's layers soon, which this login may pull; see `Cloud.share`."""
        if not self.generation or image in self._under_way or time.monotonic() < self._resting.get(image, 0.0):
            return
        known = self._had.get(image)
        if known is None or (image_id and known != image_id):
            self._under_way.add(image)
            self._queue.put_nowait(_Wanted(image, login))

    async def work(self) -> None:
        """Bring what is wanted, for ever."""
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = await self._queue.get()
                await slots.acquire()
                tasks.create_task(self._bring(wanted, slots), name=f"shared layers of {wanted.image}")

    def unused(self, generations: Collection[str]) -> tuple[Path, ...]:
        """Generations of which neither these instances nor those to come see anything."""
        if not self._root.is_dir():
            return ()
        kept = {self.generation, *generations}
        return tuple(path for path in self._root.iterdir() if path.name not in kept)

    async def _bring(self, wanted: _Wanted, slots: asyncio.Semaphore) -> None:
        generation = self.generation
        try:
            reply = await self._asked(wanted, generation)
        except (Fault, msgspec.DecodeError) as error:
            reply = _Reply(fault=str(error))
        finally:
            slots.release()
            self._under_way.discard(wanted.image)
        if reply.fault:
            # Its pod is told by its own cell.
            log.info("an image's layers are not shared", image=wanted.image, cause=reply.fault)
            self._resting[wanted.image] = time.monotonic() + _AGAIN_SECONDS
        elif generation == self.generation:
            self._had[wanted.image] = reply.image_id
            self._bytes += reply.unpacked
        if self._bytes > self._limit or max(len(self._had), len(self._resting)) > _MOST_KNOWN:
            self.generation = self._begun()

    async def _asked(self, wanted: _Wanted, generation: str) -> _Reply:
        request = {
            "image": wanted.image,
            "folder": str(self._root / generation),
            "registries": self._settings.registries,
            "proxies": self._settings.proxies,
            **(msgspec.structs.asdict(wanted.login) if wanted.login is not None else {}),
        }
        environment: Mapping[str, str] = {
            **programs.ENVIRONMENT,
            "PYTHONPATH": os.pathsep.join(self._settings.python_path),
        }
        argv = [sys.executable, "-P", "-m", "cellagent.images.share"]
        done = await programs.run(argv, stdin=msgspec.json.encode(request), env=environment, deadline=_LONGEST_SECONDS)
        return msgspec.json.decode(done.stdout, type=_Reply) if not done.returncode else _Reply(fault=done.words[-500:])

    def _begun(self) -> str:
        """A new, empty generation. Names sort by age."""
        self._had.clear()
        self._resting.clear()
        self._bytes = 0
        name = f"{pids.boot_id()}-{time.time_ns():020}"
        self.folder(name).mkdir(parents=True)
        return name
