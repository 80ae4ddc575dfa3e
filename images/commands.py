"""The one door to programs: a clean environment, a word of what is run, an error in a sentence."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import programs

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
    clean = {
        "PATH": programs.SEARCH_PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "TZ": "UTC",
        **kept,
        **(environment or {}),
    }
    done = programs.run_blocking(command, stdin=stdin, env=clean)
    if done.returncode:
        said = done.words[-_MOST_SAID:]
        raise Fault(Kind.BROKEN, shlex.join(argv)[:200], f"it ended with {done.returncode}: {said}")
    return done.stdout


def need(*wanted: str) -> None:
    """Raise Fault UNSUPPORTED for the first program that this machine lacks."""
    for program in wanted:
        if shutil.which(program, path=programs.SEARCH_PATH) is None:
            raise Fault(Kind.UNSUPPORTED, program, "it is not installed", f"install Debian's package {program}")
