"""Whether this kernel confines by SELinux. Labels are set by nobody here."""

from __future__ import annotations

import os
from pathlib import Path

SYS = Path("/sys")


def enabled(sys: Path = SYS) -> bool:
    """Whether SELinux is on, permissive or enforcing: its file system is mounted then, and at no other time."""
    return os.path.exists(f"{sys}/fs/selinux/enforce")
