"""Layers that the instances of this machine share: processes of this machine bring them, instances only read them.

    shared/<generation>/layers    what instances see; a layer is there whole, under the digest that it was found to have
    shared/<generation>/work/<n>  what is on its way

Registries that pods name are asked for them, so each process is shut in (see `inside.bringer`) in a control group of
its own, goes where `cellwire.reachable` says only, and has bounds on memory, disk and time.

An instance asks the registry itself whether a pod may have its image; here only the layers are. Nothing is removed from
a generation, since running containers stand on it: when one holds more than what is left for all, a new one begins, and
the old one goes with the last instance that was booted with it. All of them, with what is under way, have the limit
together. What was written before this machine booted is not trusted: it may be half there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Collection
from itertools import count
from pathlib import Path

import msgspec
import structlog

from cellwire import strangers_json
from cellwire.faults import Fault
from controller.clouds.local import instance_cgroups
from controller.clouds.local.inside.boot_plan import BringerPlan
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.protocol import Login
from hostkit import pids, programs

log = structlog.get_logger()
_AT_ONCE = 2
# What could not be had, which its pod is told, is not asked for by each of many pods.
_AGAIN_SECONDS = 60.0
_LONGEST_SECONDS = 900.0
_MOST_KNOWN = 10_000
# Of the process and the four that it has at once: the window of a zstd stream is 128 MiB at the most.
_MEMORY_MIB = 1024
# For less no process is started, which would find that out layer by layer.
_LEAST_ROOM = 64 << 20
# What of this machine's free disk the layers leave to others.
_LEFT_FREE = 0.5
_PACKAGES = ("cellagent", "cellwire", "hostkit")
_REPO = str(Path(__file__).resolve().parents[3])
SHUT_IN = f"import sys; sys.path.insert(0, {_REPO!r}); from controller.clouds.local.inside.bringer import main; main()"


class _Wanted(msgspec.Struct, frozen=True):
    image: str
    login: Login | None


class _Reply(msgspec.Struct, frozen=True):
    image_id: str = ""
    fault: str = ""


class _Layer(msgspec.Struct, frozen=True):
    taken: int


class LayerShare:
    """See the module. `prepare` it first."""

    def __init__(self, settings: LocalSettings, groups: instance_cgroups.Groups) -> None:
        self._settings = settings
        self._groups = groups
        self._root = settings.root / "shared"
        self._empty = settings.root / "bringer"
        self._limit = settings.shared_layers_gib << 30
        self._queue: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._under_way: set[str] = set()
        self._rooms: dict[str, int] = {}
        """The bytes that the process for an image may take."""
        self._had: dict[str, str] = {}
        """The image that each reference stood for when its layers came."""
        self._resting: dict[str, float] = {}
        self._numbers = count()
        self.generation = ""
        """What an instance is booted with that boots now; "" where nothing is shared."""

    def prepare(self) -> None:
        """Go on with the last generation, or begin one. Raises OSError."""
        if not self._limit:
            return
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._empty.mkdir(exist_ok=True)
        own = sorted(path.name for path in self._root.iterdir() if path.name.startswith(f"{pids.boot_id()}-"))
        self.generation = own[-1] if own else self._begun()

    async def clear(self) -> None:
        """End what a killed controller's processes still bring."""
        for group in self._groups.bringers():
            await self._end(group)
        for generation in self._root.iterdir() if self.generation else ():
            await self._removed(generation / "work")

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
                # Here, one after another: no two are given the same room.
                self._rooms[wanted.image] = await self._room()
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
        except (Fault, OSError, msgspec.DecodeError) as error:
            reply = _Reply(fault=str(error))
        finally:
            slots.release()
            self._under_way.discard(wanted.image)
            del self._rooms[wanted.image]
        if reply.fault:
            # Its pod is told by its own cell.
            log.info("an image's layers are not shared", image=wanted.image, cause=reply.fault)
            self._resting[wanted.image] = time.monotonic() + _AGAIN_SECONDS
        elif generation == self.generation:
            self._had[wanted.image] = reply.image_id
        try:
            # Layers of images that failed are there, too.
            held, left = await asyncio.to_thread(self._measured, generation)
            known = max(len(self._had), len(self._resting))
            if generation == self.generation and (held > left or known > _MOST_KNOWN):
                self.generation = self._begun()
        except OSError as error:
            log.warning("no other folder of shared layers is begun", cause=str(error))

    async def _room(self) -> int:
        """The bytes that one more process may take: its part of what is left, so that the next one has as much."""
        # Before the look at the disk: who ends meanwhile counts twice rather than not at all.
        promised, slots = sum(self._rooms.values()), _AT_ONCE - len(self._rooms)
        try:
            _, left = await asyncio.to_thread(self._measured, self.generation)
        except OSError as error:
            log.warning("it cannot be seen how much room shared layers have", cause=str(error))
            return 0
        return max(0, left - promised) // max(1, slots)

    def _measured(self, generation: str) -> tuple[int, int]:
        """The bytes that a generation holds, and those that all may still take together. Raises OSError."""
        held = {path.name: _bytes_in(path / "layers") for path in self._root.iterdir()}
        disk = os.statvfs(self._root)
        left = min(self._limit - sum(held.values()), int(disk.f_bavail * disk.f_frsize * (1 - _LEFT_FREE)))
        return held.get(generation, 0), left

    async def _asked(self, wanted: _Wanted, generation: str) -> _Reply:
        room = self._rooms[wanted.image]
        if room < _LEAST_ROOM:
            return _Reply(fault="the disk or `cloud.local.shared_layers_gib` leaves no room for it now")
        number = next(self._numbers)
        group, work = f"{instance_cgroups.LAYERS}{number}", self._root / generation / "work" / str(number)
        request = {
            "image": wanted.image,
            "layers": str(self.folder(generation)),
            "work": str(work),
            "room": room,
            "registries": self._settings.registries,
            "proxies": self._settings.proxies,
            **(msgspec.structs.asdict(wanted.login) if wanted.login is not None else {}),
        }
        plan = self.plan(group, self._root / generation)
        argv = [sys.executable, "-I", "-S", "-c", SHUT_IN, msgspec.json.encode(plan).decode()]
        try:
            self._groups.create(group, memory_mib=_MEMORY_MIB)
            done = await programs.run(argv, stdin=msgspec.json.encode(request), deadline=_LONGEST_SECONDS)
        finally:
            await self._end(group)
            await self._removed(work)
        return strangers_json.decode(done.stdout, _Reply) if not done.returncode else _Reply(fault=done.words[-500:])

    def plan(self, group: str, folder: Path) -> BringerPlan:
        """The room of one process, in a control group, that may write below a folder."""
        found = [Path(each) / name for each in self._settings.python_path for name in _PACKAGES]
        path = os.pathsep.join(self._settings.python_path)
        return {
            "groups": [str(each / "init") for each in self._groups.of(group)],
            "root": str(self._empty),
            "folder": str(folder),
            "room": self._limit,
            "visible": [sys.base_prefix, sys.prefix, *(str(each) for each in found)],
            "argv": [sys.executable, "-P", "-m", "cellagent.images.share"],
            "environment": {**programs.ENVIRONMENT, **({"PYTHONPATH": path} if path else {})},
        }

    async def _end(self, group: str) -> None:
        await instance_cgroups.until_none(lambda: self._groups.kill(group))
        await instance_cgroups.until_none(lambda: self._groups.remove(group))

    @staticmethod
    async def _removed(folder: Path) -> None:
        if folder.exists():
            await programs.run(["rm", "-rf", "--one-file-system", str(folder)], deadline=600)

    def _begun(self) -> str:
        """A new, empty generation. Names sort by age. Raises OSError."""
        name = f"{pids.boot_id()}-{time.time_ns():020}"
        self.folder(name).mkdir(parents=True)
        self._had.clear()
        self._resting.clear()
        return name


def _bytes_in(layers: Path) -> int:
    """What the layers of a generation take of the disk, by what is told of them."""
    found = 0
    for about in layers.glob("*.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found += msgspec.json.decode(about.read_bytes(), type=_Layer).taken
    return found
