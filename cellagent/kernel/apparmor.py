"""Whether this kernel confines by AppArmor, and by which profiles it can."""

from __future__ import annotations

from pathlib import Path

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
PROFILES = Path("/sys/kernel/security/apparmor/profiles")


def loaded() -> frozenset[str] | None:
    """The names of the profiles that are loaded now; None where the kernel has no AppArmor."""
    try:
        if ENABLED.read_text().strip() != "Y":
            return None
        return names(PROFILES.read_text())
    except OSError:
        return None


def names(table: str) -> frozenset[str]:
    """From the kernel's table, a line of which is "name (mode)"; a name may hold blanks. Pure."""
    return frozenset(line.rpartition(" (")[0] for line in table.splitlines() if line.endswith(")"))
