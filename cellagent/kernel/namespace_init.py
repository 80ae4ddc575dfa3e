"""The process that holds a pid namespace, or makes the namespaces under a user namespace.

It waits for a line on its input before it is allowed to stay: an agent killed in between leaves none behind. Its
process id is written beside the pins, with its start time, so that no other process is ever taken for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from cellagent.kernel import mounts
from cellagent.kernel.threads import enter, leave_folder, on_own_thread
from cellwire.faults import Fault, Kind
from hostkit import pids, programs

# A start takes a few milliseconds.
START_SECONDS = 10.0
# With SIGCHLD ignored the kernel reaps what is orphaned in the namespace.
_SCRIPT = "echo up; read -r word && exec env --ignore-signal=CHLD sleep infinity >/dev/null"
# The holder is nobody's child in the agent, so that it neither ends with the agent nor stays as a zombie.
_DETACHED = 'exec 3<&0; unshare "$@" <&3 3<&- 2>/dev/null & echo $!'
_RECORD = "holder"


class IdMap(msgspec.Struct, frozen=True):
    """Ids `inside … inside+length-1` of a user namespace are `outside …` on the machine."""

    inside: int
    outside: int
    length: int


async def hold(folder: Path, kinds: Sequence[str], *, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> None:
    """Make namespaces by a process, pin them in `folder`; the process stays where there is a pid namespace."""
    flags = [
        {"net": "--net", "ipc": "--ipc", "uts": "--uts", "user": "--user"}[kind] for kind in kinds if kind != "pid"
    ]
    stays = "pid" in kinds
    if stays:
        flags += ["--mount", "--pid", "--fork", "--kill-child=SIGKILL"]
    command = ["sh", "-c", _DETACHED, "sh", *flags, "sh", "-c", _SCRIPT]
    ears, mouth = os.pipe()
    said, theirs = os.pipe()
    try:
        shell = await programs.launch(command, stdin=ears, stdout=theirs)
        os.close(theirs)
        theirs = -1
        starter = await _until_up(said)
        await shell.wait()
        child = pids.children(starter)[0] if stays else starter
        if "user" in kinds:
            _write_maps(child, uids, gids)
        for kind in kinds:
            pin(Path(f"/proc/{child}/ns/{kind}"), folder / kind)
        if stays:
            (folder / _RECORD).write_text(f"{starter} {pids.started(starter)} {child} {pids.started(child)}")
            os.write(mouth, b"stay\n")
            await _until_asleep(child)
            await on_own_thread(lambda: _empty_root(child))
    finally:
        # Without its line the holder ends by itself.
        for descriptor in (ears, mouth, said, theirs):
            if descriptor >= 0:
                os.close(descriptor)


def pin(namespace: Path, path: Path) -> None:
    """Keep a namespace alive by a file."""
    path.touch()
    mounts.mount(str(namespace), str(path), "", mounts.MS_BIND)


def running(folder: Path) -> int:
    """The process id of the first process in the held pid namespace; 0 where there is none."""
    found = _recorded(folder)
    return found[-1] if found else 0


def release(folder: Path) -> None:
    """End the holder and all that runs in its pid namespace. Idempotent; blocks for moments."""
    # The first process of the namespace goes first: with it the kernel ends all in the namespace.
    for pid in reversed(_recorded(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (folder / _RECORD).unlink(missing_ok=True)


def _empty_root(child: int) -> None:
    namespace = Path(f"/proc/{child}/ns/mnt")
    leave_folder()
    enter(namespace, "mnt")
    mounts.become_root(Path("/proc"))


def _recorded(folder: Path) -> list[int]:
    try:
        numbers = [int(word) for word in (folder / _RECORD).read_text().split()]
    except (OSError, ValueError):
        return []
    return [pid for pid, start in zip(numbers[::2], numbers[1::2], strict=False) if pids.started(pid) == start]


def _write_maps(pid: int, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> None:
    for name, ids in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{one.inside} {one.outside} {one.length}\n" for one in ids)
        try:
            Path(f"/proc/{pid}/{name}").write_text(text)
        except OSError as error:
            raise Fault(Kind.INVALID, f"user namespace with {name} {text.strip()!r}", str(error.strerror)) from error


async def _until_up(said: int) -> int:
    """The starter's process id, when the holder too has spoken. They speak in either order."""
    os.set_blocking(said, False)
    text = b""

    def look() -> bool:
        nonlocal text
        try:
            heard = os.read(said, 4096)
        except BlockingIOError:
            return False
        text += heard
        if not heard:
            raise Fault(Kind.BROKEN, "namespace holder", "it ended at once", "user namespaces may be forbidden here")
        return b"up\n" in text and any(line.isdigit() for line in text.split(b"\n")[:-1])

    await _until(look)
    return next(int(line) for line in text.split(b"\n") if line.isdigit())


async def _until_asleep(pid: int) -> None:
    def look() -> bool:
        if (found := pids.stat(pid)) is None:
            raise Fault(Kind.BROKEN, "namespace holder", "it ended at once")
        # While it still loads its libraries it runs, or waits for the disk ("D"): the root must not go before.
        return found.name == "sleep" and found.state == "S"

    await _until(look)


async def _until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    pause = 0.001
    while not found():
        if time.monotonic() > deadline:
            raise Fault(Kind.TIMEOUT, "namespace holder", f"it did not start within {START_SECONDS:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.02)
