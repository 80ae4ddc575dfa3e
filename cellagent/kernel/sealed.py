"""A program as a sealed file in memory, which nobody can write to.

crun copies its own program before each run, and begins anew from the copy: by way of /proc/PID/exe a process in a
container could write to the program that enters it (CVE-2019-5736). From a file that is sealed it runs as it is, in
half the time. The copy is as old as this process: a newer program is taken at the next start.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# Exactly these, or crun takes the file for one that could change.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@contextmanager
def in_memory(program: Path, folder: Path) -> Generator[Path]:
    """A path in the folder, of the program's name, by which its copy is run while the context lives. Raises OSError."""
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
