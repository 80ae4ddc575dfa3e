"""Compiles what instances run, once: they see this machine's disks read-only, so that each would compile it anew for
itself, at its start and at every pull.
"""

from __future__ import annotations

import compileall
import sys
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = ("cellagent", "cellwire", "hostkit")


def compile_agent(folders: Sequence[str]) -> None:
    """Compile the agent's packages in these folders as far as it is not done: slow the first time.

    Nobody fails for want of it. Where Python is told to write no bytecode none is written.
    """
    if sys.dont_write_bytecode:
        return
    for package in (Path(folder) / name for folder in folders for name in _PACKAGES):
        if package.is_dir():
            compileall.compile_dir(package, quiet=2)
