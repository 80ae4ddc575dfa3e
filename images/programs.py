"""The one door to programs: a clean environment, a word of what is run, an error in a sentence."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellwire.faults import Fault, Kind

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_SAID = 2000


def run(
    argv: Sequence[str], *, root: Path | None = None, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> bytes:
    """Run a program to its end, inside the tree `root` where one is named; its output. Raises Fault."""
    command = ["chroot", str(root), *argv] if root is not None else list(argv)
    # What finds package indexes and proxies on this machine goes along, what might change an image does not.
    kept = {
        name: value for name, value in os.environ.items() if name.lower().startswith(("pip_", "http", "https", "no_"))
    }
    clean = {"PATH": _SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "TZ": "UTC", **kept, **(environment or {})}
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, env=clean, check=False)
    except FileNotFoundError as error:
        raise Fault(Kind.UNSUPPORTED, command[0], "it is not installed", "install its Debian package") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_MOST_SAID:]
        raise Fault(Kind.BROKEN, shlex.join(argv)[:200], f"it ended with {done.returncode}: {said}")
    return done.stdout


def need(*programs: str) -> None:
    """Raise Fault UNSUPPORTED for the first program that this machine lacks."""
    for program in programs:
        if shutil.which(program, path=_SEARCH_PATH) is None:
            raise Fault(Kind.UNSUPPORTED, program, "it is not installed", f"install Debian's package {program}")
