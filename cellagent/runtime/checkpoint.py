"""Checkpoints of running containers: criu writes down their processes, which run on; all that belongs to them goes into
one archive.

The layout is the one that podman, CRI-O and checkpointctl read (checkpointctl, lib/metadata.go): `checkpoint/` with
criu's images, `config.dump`, `spec.dump`, `status`, `dump.log`, `stats-dump`, `rootfs-diff.tar` with what the container
has written, `deleted.files` with what it has removed, `devshm-checkpoint.tar`. Owners of files are those that this
machine sees. What is written while the archive is made may be newer than the processes' memory.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cellagent.kernel import inside, oci
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
# What tar says, each in a line, of a name that it was given and that is not there, and at its end.
_GONE = (": Cannot stat: No such file or directory", ": Exiting with failure status due to previous errors")


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
        if removed := await pack_changes(thing, folder, upper, layers):
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


class Changes(NamedTuple):
    """What an overlay's writable layer says, in paths relative to it."""

    first: list[str]
    """The names in its own folder that are files and folders."""
    whiteouts: list[str]
    """What stands in it for what was removed."""
    hidden: list[str]
    """What its folders hide of the layers below that were removed and made anew."""


def changes(upper: Path, layers: Sequence[Path]) -> Changes:
    """What a writable layer holds. Its container runs on and may put a link in the place of any folder: none is
    followed, in `layers` as little, and what is gone meanwhile is not told.

    Raises OSError for a layer that is deeper than paths are long.
    """
    told = Changes([], [], [])
    left = [("", False)]  # and whether what is below it in the layers is hidden by a folder above
    while left:
        path, hides = left.pop()
        with _folder(upper, path) as here:
            if here is None:
                continue
            hides = hides or _opaque(here)
            names: set[str] = set()
            for name in sorted(os.listdir(here)):
                with suppress(FileNotFoundError):
                    mode = _mode(here, name)
                    names.add(name)
                    if not mode:
                        told.whiteouts.append(path + name)
                    elif not path:
                        told.first.append(name)
                    if stat.S_ISDIR(mode):
                        left.append((f"{path}{name}/", hides))
            if hides:
                told.hidden.extend(path + name for name in _below(path, layers) - names)
    return told


@contextmanager
def _folder(root: Path, path: str) -> Generator[int | None]:
    """A descriptor of a folder below `root`; None where there is none, or a link."""
    try:
        descriptor = inside.opened(root, path or ".", os.O_RDONLY | os.O_DIRECTORY, links=False)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mode(folder: int, name: str) -> int:
    """The mode of what is there, 0 of a whiteout."""
    seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return 0 if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0 else seen.st_mode


def _opaque(folder: int) -> bool:
    with suppress(OSError):
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    return False


def _below(path: str, layers: Iterable[Path]) -> set[str]:
    names: set[str] = set()
    for layer in layers:
        with _folder(layer, path) as folder:
            names.update(os.listdir(folder) if folder is not None else ())
    return names


async def pack_changes(thing: str, folder: Path, upper: Path, layers: Sequence[Path]) -> list[str]:
    """Write `rootfs-diff.tar` of a writable layer into `folder`; the absolute paths of what was removed.

    tar goes through folders by descriptors, and follows no link on its way down from the names that it is given: so
    these are the first ones alone.
    """
    told = await asyncio.to_thread(changes, upper, layers)
    unwanted = folder / "unwanted"
    unwanted.write_bytes(b"".join(os.fsencode(tar_pattern(path)) + b"\n" for path in told.whiteouts))
    try:
        without = ["--anchored", "--no-wildcards-match-slash", f"--exclude-from={unwanted}"]
        # Of what is harmless it is to say nothing: each line is an error then.
        await _tar(thing, folder / "rootfs-diff.tar", upper, told.first, [*without, "--warning=none"], passing=True)
    finally:
        unwanted.unlink()
    return sorted(f"/{path}" for path in (*told.whiteouts, *told.hidden))


def tar_pattern(path: str) -> str:
    """A line of patterns for tar that means this path. Pure.

    A line cannot hold its own end, and blanks at its end are passed over.
    """
    bare = path.rstrip(" \t\r\v\f")
    # Behind a backslash, not in brackets: tar finds a pattern without wildcards at once, and tries all others in turn.
    said = "".join("[[:cntrl:]]" if sign == "\n" else f"\\{sign}" if sign in "\\*?[" else sign for sign in bare)
    return said + "".join(f"[{sign}]" for sign in path[len(bare) :])


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


async def _tar(
    thing: str,
    archive: Path,
    folder: Path,
    names: Sequence[str],
    options: Sequence[str] = (),
    *,
    passing: bool = False,
) -> None:
    """A new file, which only root may read. `names` are taken with what is below them; where they are `passing`, those
    that are gone are left out.
    """
    await asyncio.to_thread(lambda: archive.touch(0o600))
    argv = ["tar", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*", "-C", str(folder)]
    argv += [*options, "-cf", str(archive), "--null", "-T", "-"]
    listed = b"\0".join(map(os.fsencode, names))
    done = await programs.run(argv, stdin=listed, deadline=_ARCHIVE_DEADLINE)
    # 1: a file changed meanwhile, or what is below a name is gone.
    gone = passing and done.returncode == 2 and all(line.endswith(_GONE) for line in done.words.splitlines())
    if done.returncode not in (0, 1) and not gone:
        raise Fault(Kind.BROKEN, thing, done.words, "look at this machine's disk")


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
