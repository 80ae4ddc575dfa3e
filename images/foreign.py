"""Trees of another architecture: whether the kernel runs their programs, by an emulator that it holds open.

That is what Debian's qemu-user-static registers with binfmt_misc; the flag F makes it work within a tree, too.
"""

from __future__ import annotations

from pathlib import Path

REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}


def runs(architecture: str, registered: Path = REGISTERED) -> bool:
    """Whether programs of this architecture, which is not the machine's own, run here."""
    try:
        words = (registered / _EMULATORS[architecture]).read_text().splitlines()
    except (OSError, KeyError):
        return False
    flags = next((line.partition(":")[2] for line in words if line.startswith("flags:")), "")
    return "enabled" in words and "F" in flags
