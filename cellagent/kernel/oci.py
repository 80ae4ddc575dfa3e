"""Which OCI runtime this machine can use, and why; and its program as a sealed file in memory."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from hostkit import cgroup_files, programs

VERSION_DEADLINE = 10.0


class OciRuntime(msgspec.Struct, frozen=True):
    """The program that makes containers, the reason in words for taking it, and its version."""

    path: Path
    name: str
    why: str
    version: str = ""


NAMES = ("crun", "runc")


def detect(wanted: str = "") -> OciRuntime:
    """Crun where it works, else runc; or the one that is wanted. Blocks for milliseconds.

    Raises Fault UNSUPPORTED where there is none that works.
    """
    found: dict[str, tuple[Path, str]] = {}
    complaints: dict[str, str] = {}
    for name in NAMES if not wanted else (wanted,):
        path = shutil.which(name, path=programs.SEARCH_PATH)
        if path is None:
            complaints[name] = f"{name} is not installed"
            continue
        done = programs.run_blocking([path, "--version"], deadline=VERSION_DEADLINE)
        if done.returncode:
            complaints[name] = f"{name} does not run ({done.words.splitlines()[-1]})"
        else:
            found[name] = (Path(path), done.stdout.decode(errors="replace").partition("\n")[0].split(" ")[-1])
    leftover = leftover_controllers()
    name, why = choose(frozenset(found), complaints, leftover, wanted)
    path, version = found[name]
    return OciRuntime(path, name, why, version)


def tried(path: Path) -> Path:
    """The path, where the program runs by it. Blocks for milliseconds. Raises Fault UNSUPPORTED."""
    done = programs.run_blocking([str(path), "--version"], deadline=VERSION_DEADLINE)
    if done.returncode:
        raise Fault(Kind.UNSUPPORTED, f"OCI runtime {path}", done.words.splitlines()[-1])
    return path


def choose(found: frozenset[str], complaints: dict[str, str], leftover: str, wanted: str = "") -> tuple[str, str]:
    """The name to use and why. `leftover` are controllers of version 2 beside version 1. Pure."""
    if wanted:
        return _as_wanted(wanted, found, complaints, leftover)
    refusal = f"crun refuses a version 2 hierarchy that holds {leftover} beside version 1" if leftover else ""
    if "crun" in found and not leftover:
        return "crun", "crun is the quicker one, and works here"
    if "runc" in found:
        return "runc", refusal if "crun" in found else complaints.get("crun", "crun is not installed")
    causes = [refusal] if "crun" in found else [complaints.get("crun", "")]
    causes.append(complaints.get("runc", ""))
    mend = "install Debian's package " + ("runc" if leftover else "crun")
    raise Fault(Kind.UNSUPPORTED, "OCI runtime", ", and ".join(cause for cause in causes if cause), mend)


def _as_wanted(wanted: str, found: frozenset[str], complaints: dict[str, str], leftover: str) -> tuple[str, str]:
    thing = f"OCI runtime {wanted}"
    if wanted not in NAMES:
        raise Fault(Kind.INVALID, thing, "it is not known here", f"choose {' or '.join(NAMES)}")
    if wanted not in found:
        raise Fault(Kind.UNSUPPORTED, thing, complaints[wanted], f"install Debian's package {wanted}")
    if wanted == "crun" and leftover:
        cause = f"it refuses a version 2 hierarchy that holds {leftover} beside version 1"
        raise Fault(Kind.UNSUPPORTED, thing, cause, "choose runc")
    return wanted, "it was asked for"


def leftover_controllers() -> str:
    """Controllers that this machine's version 2 hierarchy holds where version 1 is mounted beside it."""
    mounts = Path("/proc/mounts").read_text(errors="surrogateescape")
    rows = (line.split(" ") for line in mounts.split("\n")[:-1])
    point = next((row[1] for row in rows if row[2] == "cgroup2"), "")
    held = cgroup_files.text(Path(point, "cgroup.controllers")) if point else ""
    return cgroup_files.beside_version_1(mounts, held, cgroup_files.text(Path("/proc/cgroups")))


# Exactly these, or crun takes the file for one that could change.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@contextmanager
def in_memory(program: Path, folder: Path) -> Generator[Path]:
    """A path in the folder, of the program's name, by which its sealed copy is run while the context lives.

    crun copies its own program before each run, and begins anew from the copy: by way of /proc/PID/exe a process in a
    container could write to the program that enters it (CVE-2019-5736). From a file that is sealed it runs as it is,
    in half the time. The copy is as old as this process. Raises OSError.
    """
    link = folder / program.name
    link.unlink(missing_ok=True)
    descriptor = os.memfd_create(program.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as copy:
            copy.write(program.read_bytes())
        os.fchmod(descriptor, 0o555)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        # Children have descriptors of their own: they find it by this process'.
        link.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        yield link
    finally:
        link.unlink(missing_ok=True)
        os.close(descriptor)
