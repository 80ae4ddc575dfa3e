"""conmon: the small program that holds a container's pipes while agents come and go.

It starts the OCI runtime, writes the log in CRI format, leaves the exit code in a file and serves an attach socket.
This file knows its command line and the pipe on which it tells the process id, or why there is none.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from hostkit import pids, programs
from hostkit.pipes import handed_over, reading

# A create takes tens of milliseconds; minutes mean a hung mount or a machine on its knees.
CREATE_DEADLINE = 120.0
# runc lives for milliseconds: collecting garbage costs it a tenth of them. Others do not look.
HASTE = {"GOGC": "off"}
ABANDON_LOOK = 0.005
# What conmon leaves in a bundle; it makes no second FIFO of a name.
MADE = ("ctl", "winsz", "attach", "pid", "conmon.pid", "conmon.err", "exit", "oom")


@dataclass(frozen=True, slots=True)
class ConmonCharge:
    """What one conmon is told: one container, where its files are, how its input and output are meant."""

    container_id: str
    name: str
    runtime: Path
    runtime_state: Path
    bundle: Path
    exits: Path
    log_path: str
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    systemd_cgroup: bool = False


@dataclass(frozen=True, slots=True)
class Exec:
    """What one conmon is told of a command in a container that runs: `options` are flags of the runtime's exec."""

    container_id: str
    name: str
    runtime: Path
    runtime_flags: tuple[str, ...]
    bundle: Path
    spec: str
    pid_file: Path
    options: tuple[str, ...] = ()


class ConmonReport(msgspec.Struct):
    """The line conmon writes on its sync pipe. `data` is a process id, or negative with a message."""

    data: int = -1
    message: str = ""


def command_line(charge: ConmonCharge) -> list[str]:
    """The arguments for `charge`."""
    bundle = charge.bundle
    argv = [
        "conmon",
        "--api-version", "1",
        "--cid", charge.container_id,
        "--cuuid", charge.container_id,
        "--name", charge.name,
        "--runtime", str(charge.runtime),
        "--runtime-arg", "--root",
        "--runtime-arg", str(charge.runtime_state),
        "--bundle", str(bundle),
        "--container-pidfile", str(bundle / "pid"),
        "--conmon-pidfile", str(bundle / "conmon.pid"),
        "--exit-dir", str(charge.exits),
        "--persist-dir", str(bundle),
        "--log-path", f"k8s-file:{charge.log_path or '/dev/null'}",
        "--log-level", "error",
        "--full-attach",
        "--no-sync-log",
        "--no-new-keyring",
    ]  # fmt: skip
    if charge.terminal:
        argv.append("--terminal")
    if charge.stdin:
        argv.append("--stdin")
        # A terminal outlives its clients: without the flag no input of a later one arrives.
        if charge.terminal or not charge.stdin_once:
            argv.append("--leave-stdin-open")
    if charge.systemd_cgroup:
        argv.append("--systemd-cgroup")
    return argv


def exec_command_line(order: Exec) -> list[str]:
    """The arguments for a command that gets conmon's own standard streams, so that nobody copies between them.

    conmon stays its parent, and reports its process id and then its exit code.
    """
    argv = [
        "conmon",
        "--api-version", "1",
        "--cid", order.container_id,
        "--cuuid", order.container_id,
        "--name", order.name,
        "--runtime", str(order.runtime),
        "--bundle", str(order.bundle),
        "--exec",
        "--exec-process-spec", order.spec,
        "--container-pidfile", str(order.pid_file),
        "--log-path", "passthrough",
        "--log-level", "error",
        "--full-attach",
        "--no-sync-log",
        "--no-new-keyring",
        # Its one process is then the agent's own child.
        "--sync",
    ]  # fmt: skip
    for flag in order.runtime_flags:
        argv += ["--runtime-arg", flag]
    for option in order.options:
        argv += ["--runtime-opt", option]
    return argv


def reports(said: bytes) -> list[ConmonReport]:
    """What conmon has written on its sync pipe."""
    found: list[ConmonReport] = []
    for line in said.splitlines():
        with suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(line, type=ConmonReport))
    return found


async def launch(charge: ConmonCharge) -> tuple[int, int]:
    """Start conmon and create the container. Returns the process ids of container and conmon.

    Raises Fault BROKEN with the OCI runtime's own words where the container could not be created.
    """
    ours, theirs = os.pipe()
    complaints = charge.bundle / "conmon.err"
    try:
        with complaints.open("wb") as errors:
            conmon = await programs.launch(
                command_line(charge),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors.fileno(),
                env={**programs.ENVIRONMENT, **HASTE, "_OCI_SYNCPIPE": str(theirs)},
                cwd=charge.bundle,
                pass_fds=(theirs,),
            )
        os.close(theirs)
        theirs = -1
        # The reader closes it, also when it is cancelled: closed twice, the number may be another's by then.
        handed, ours = ours, -1
        said = await _read_all(handed)
        await conmon.wait()
    finally:
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)
    return _understand(charge, said, complaints), _number(charge.bundle / "conmon.pid")


def _understand(charge: ConmonCharge, said: bytes, complaints: Path) -> int:
    report = next(iter(reports(said)), ConmonReport())
    if report.data > 0:
        return report.data
    words = report.message.strip() or complaints.read_text(errors="replace").strip() or "conmon ended without a word"
    raise Fault(Kind.BROKEN, f"container {charge.name}", plain_words(words), reason="StartError")


def plain_words(text: str) -> str:
    """The sentence inside runc's log lines (`time="…" level=error msg="…"`), or crun's, without the wrapping."""
    lines: list[str] = []
    for line in text.splitlines():
        _, found, rest = line.partition(' msg="')
        plain = rest.rstrip().removesuffix('"').replace('\\"', '"') if found else line.strip()
        if plain and "level=warning" not in line:
            lines.append(plain)
    return "; ".join(lines)[:2000] or text.strip()[:2000]


async def _read_all(fd: int) -> bytes:
    """Everything written to a pipe of ours; closes it."""
    reader, transport = await reading(handed_over(fd, "rb"))
    try:
        async with asyncio.timeout(CREATE_DEADLINE):
            return await reader.readline()
    except TimeoutError as error:
        raise Fault(Kind.TIMEOUT, "conmon", f"no container within {CREATE_DEADLINE:.0f} s") from error
    finally:
        transport.close()


def let_run(charge: ConmonCharge) -> bool:
    """Whether a created container was let run: its OCI runtime waits at a FIFO until then, runc as well as crun."""
    return not (charge.runtime_state / charge.container_id / "exec.fifo").exists()


async def abandon(charge: ConmonCharge) -> None:
    """End the conmon and the OCI runtime of a container that was never let run, and make room for the next conmon."""
    while found := [pid for pid in pids.every() if _works_on(charge, pid)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(ABANDON_LOOK)
    for name in MADE:
        (charge.bundle / name).unlink(missing_ok=True)
    (charge.exits / charge.container_id).unlink(missing_ok=True)


def same(pid: int, container_id: str) -> int:
    """Conmon's process id, unless the number belongs to another program by now: then 0."""
    return pid if _is_ours(pid) and container_id in pids.command_line(pid) else 0


def _works_on(charge: ConmonCharge, pid: int) -> bool:
    program, *words = pids.command_line(pid) or [""]
    return program in {"conmon", str(charge.runtime)} and charge.container_id in words and _is_ours(pid)


def _is_ours(pid: int) -> bool:
    """Whether a process sees the mounts that we see. No container's does, whatever it calls itself."""
    return pids.mount_namespace(pid) == pids.mount_namespace(os.getpid())


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def tell(bundle: Path, words: Sequence[int]) -> None:
    """Write one order to conmon's control pipe; without effect where conmon is gone."""
    with suppress(OSError):
        fd = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, (" ".join(map(str, words)) + "\n").encode())
        finally:
            os.close(fd)


def resize(bundle: Path, width: int, height: int) -> None:
    """Set the size of the container's terminal."""
    tell(bundle, (1, height, width))


def reopen_log(bundle: Path) -> None:
    """Have the log file opened anew at its path."""
    tell(bundle, (2, 0, 0))
