"""Checkpoints of running containers: criu writes down their processes, which run on; all that belongs to them goes into
one archive.

The layout is the one that podman, CRI-O and checkpointctl read (checkpointctl, lib/metadata.go): `checkpoint/` with
criu's images, `config.dump`, `spec.dump`, `status`, `dump.log`, `stats-dump`, `rootfs-diff.tar` with what the container
has written, `deleted.files` with what it has removed, `devshm-checkpoint.tar`. Owners of files are those that this
machine sees. What is written while the archive is made may be newer than the processes' memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cellagent.kernel import oci
from cellagent.runtime import bundle, conmon
from cellagent.runtime.ledger import ContainerEntry, Phase
from cellagent.runtime.machine import Machine
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault, Kind
from hostkit import files, programs

# criu in the middle of its work is never killed, for the container would die of it.
_PROGRAM_DEADLINE = 10.0
_ARCHIVE_DEADLINE = 3600.0
_TARGET = "target"


class Checkpoints:
    """Makes one at a time: each holds as much memory as its container, on the disk."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._turn = asyncio.Lock()

    async def write(self, container_id: str, location: str, seconds: float) -> None:
        """Write a running container's archive to `location`, readable by root only; within `seconds`, 0 for no limit.

        Raises Fault UNSUPPORTED where criu is missing, PRECONDITION, INVALID, TIMEOUT, and BROKEN with criu's words. It
        then runs on as before, and nothing is left behind.
        """
        record = self._machine.ledger.container(container_id)
        thing = f"checkpoint of container {record.parsed().metadata.name}"
        await able(self._machine.runtime, thing)
        if record.phase is not Phase.RUNNING:
            raise Fault(Kind.PRECONDITION, thing, f"it is not running but {record.phase.value}")
        target = Path(location)
        if not _can_be_written(target):
            raise Fault(Kind.INVALID, thing, f"{location!r} is no path of a file in a folder that is there")
        given_up = asyncio.Event()
        try:
            async with asyncio.timeout(seconds if seconds > 0 else None):
                await self._machine.flights.join(
                    f"{thing} to {target}", lambda: self._write(record, thing, target, given_up)
                )
        except TimeoutError as error:
            cause = f"it has not ended within {seconds:g} s"
            raise Fault(Kind.TIMEOUT, thing, cause, "allow it more time") from error
        finally:
            given_up.set()

    async def _write(self, record: ContainerEntry, thing: str, target: Path, given_up: asyncio.Event) -> None:
        async with self._turn:
            if given_up.is_set():
                return
            folder = self._machine.settings.checkpoints / record.id
            partial = target.with_name(f".{target.name}.partial")
            try:
                folder.mkdir(parents=True, mode=0o700)
                (folder / _TARGET).write_text(str(partial))
                await self._dump(record, thing, folder)
                await asyncio.to_thread(_describe, self._machine, record, folder)
                await self._pack(record, thing, folder)
                parts = sorted(one.name for one in folder.iterdir() if one.name not in {_TARGET, "work"})
                await _tar(thing, partial, folder, parts)
                if not given_up.is_set():
                    partial.replace(target)
            except OSError as error:
                cause = f"{str(error.filename or folder)[-200:]}: {error.strerror}"
                raise Fault(Kind.BROKEN, thing, cause, "look at this machine's disk") from error
            finally:
                partial.unlink(missing_ok=True)
                await asyncio.to_thread(files.remove_tree, folder)

    async def _dump(self, record: ContainerEntry, thing: str, folder: Path) -> None:
        work = folder / "work"
        for part in (folder / "checkpoint", work):
            part.mkdir()
        argv = [
            str(self._machine.runtime.path),
            "--root", str(self._machine.settings.oci),
            "checkpoint",
            "--image-path", str(folder / "checkpoint"),
            "--work-path", str(work),
            "--leave-running",
            # Connections, locks and sockets of others are no reason to refuse: whoever restores it decides on them.
            "--tcp-established",
            "--file-locks",
            "--ext-unix-sk",
            record.id,
        ]  # fmt: skip
        said = work / "said"
        with said.open("wb") as errors:
            process = await programs.launch(argv, stderr=errors.fileno())
        if await process.wait():
            words = last_error(_text(work / "dump.log")) or conmon.plain_words(_text(said))
            raise Fault(Kind.BROKEN, thing, words, "the container runs on; see criu's limits")
        for name in ("dump.log", "stats-dump"):
            with suppress(FileNotFoundError):
                (work / name).rename(folder / name)

    async def _pack(self, record: ContainerEntry, thing: str, folder: Path) -> None:
        upper = self._machine.settings.layers(record.id) / "upper"
        layers = self._machine.images.find(record.image_id).layers
        written, removed = await asyncio.to_thread(changes, upper, layers)
        await _tar(thing, folder / "rootfs-diff.tar", upper, written, each=True)
        if removed:
            (folder / "deleted.files").write_text(json.dumps(removed))
        mounts = bundle.read_spec(self._machine.settings.bundle(record.id))["mounts"]
        shm = next((Path(one["source"]) for one in mounts if one["destination"] == "/dev/shm"), None)
        if shm is not None and shm != Path("/dev/shm") and any(shm.iterdir()):
            await _tar(thing, folder / "devshm-checkpoint.tar", shm, ["."])


def _can_be_written(target: Path) -> bool:
    try:
        return target.is_absolute() and target.parent.is_dir() and not target.is_dir()
    except OSError:  # a name that is longer than any
        return False


def clear(settings: RuntimeSettings) -> None:
    """Remove what an earlier life of the agent has left of its last one."""
    for folder in settings.checkpoints.iterdir() if settings.checkpoints.is_dir() else ():
        with suppress(OSError):
            Path((folder / _TARGET).read_text()).unlink(missing_ok=True)
        files.remove_tree(folder)


async def able(runtime: oci.OciRuntime, thing: str) -> None:
    """Raise Fault UNSUPPORTED with what is missing for a checkpoint."""
    if shutil.which("criu", path=programs.SEARCH_PATH) is None:
        raise Fault(Kind.UNSUPPORTED, thing, "criu is not installed", "install criu")
    if runtime.name == "crun":
        done = await programs.run([str(runtime.path), "--version"], deadline=_PROGRAM_DEADLINE)
        if b"+CRIU" not in done.stdout:
            mend = "install one that is, or runc in its place"
            raise Fault(Kind.UNSUPPORTED, thing, f"{runtime.path} is not built with criu", mend)


def last_error(log: str) -> str:
    """The first thing that criu's log calls an error, which the others follow from; empty where there is none. Pure."""
    for line in log.splitlines():
        _, found, words = line.partition("Error (")
        if found:
            return "criu: " + words.partition("): ")[2].strip()
    return ""


def changes(upper: Path, layers: Sequence[Path]) -> tuple[list[str], list[str]]:
    """What an overlay's writable layer holds, relative to it, and the absolute paths of what it hides of the others.

    Raises OSError for a layer that is deeper than paths are long, which tar could not pack.
    """
    written: list[str] = []
    removed: list[str] = []
    left = [upper]
    while left:
        here = left.pop()
        names = sorted(os.listdir(here))
        for name in names:
            seen = (here / name).lstat()
            path = (here / name).relative_to(upper)
            if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
                removed.append(f"/{path}")
            elif not stat.S_ISSOCK(seen.st_mode):
                written.append(str(path))
            if stat.S_ISDIR(seen.st_mode):
                left.append(here / name)
        removed.extend(_hidden(here, here.relative_to(upper), layers, set(names)))
    return written, sorted(removed)


def _hidden(folder: Path, path: Path, layers: Iterable[Path], names: set[str]) -> Iterator[str]:
    """What a folder hides that was removed and made anew: all that was below it and is not in it again."""
    opaque = b""
    with suppress(OSError):
        opaque = os.getxattr(folder, "trusted.overlay.opaque", follow_symlinks=False)
    if opaque == b"y":
        below = {one.name for layer in layers if (layer / path).is_dir() for one in (layer / path).iterdir()}
        yield from (f"/{path / name}" for name in below - names)


def _describe(machine: Machine, record: ContainerEntry, folder: Path) -> None:
    config = record.parsed()
    told = {
        "id": record.id,
        "name": config.metadata.name,
        "rootfsImage": record.image_id,
        "rootfsImageRef": record.image_ref,
        "rootfsImageName": config.image.user_specified_image or config.image.image,
        "runtime": machine.runtime.name,
        "createdTime": _moment(record.created_at),
        "checkpointedTime": _moment(time.time_ns()),
    }
    status = {
        "CreatedAt": record.created_at,
        "StartedAt": record.started_at,
        "FinishedAt": 0,
        "ExitCode": 0,
        "Pid": record.pid,
        "Reason": "",
        "Message": "",
    }
    sandbox = machine.ledger.sandbox(record.sandbox_id).parsed().metadata
    spec = bundle.read_spec(machine.settings.bundle(record.id))
    # Where checkpointctl looks for whose it is.
    spec.setdefault("annotations", {}).update(
        {
            "io.kubernetes.cri.container-name": config.metadata.name,
            "io.kubernetes.cri.sandbox-name": sandbox.name,
            "io.kubernetes.cri.sandbox-namespace": sandbox.namespace,
        }
    )
    for name, value in (("config.dump", told), ("status", status), ("spec.dump", spec)):
        (folder / name).write_text(json.dumps(value))


def _moment(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


async def _tar(thing: str, archive: Path, folder: Path, names: Sequence[str], *, each: bool = False) -> None:
    """A new file, which only root may read. `names` are taken with what is below them, or `each` by itself."""
    await asyncio.to_thread(lambda: archive.touch(0o600))
    argv = ["tar", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*", "-C", str(folder)]
    argv += ["-cf", str(archive), "--null", *(["--no-recursion"] if each else []), "-T", "-"]
    listed = b"\0".join(map(os.fsencode, names))
    done = await programs.run(argv, stdin=listed, deadline=_ARCHIVE_DEADLINE)
    # 1: a file changed meanwhile.
    if done.returncode > 1:
        raise Fault(Kind.BROKEN, thing, done.words, "look at this machine's disk")


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
