"""Whether this kernel confines by AppArmor, and by which profiles it can; and the profile that this agent brings."""

from __future__ import annotations

import logging
from pathlib import Path

from cellwire.faults import Fault
from hostkit import programs

log = logging.getLogger(__name__)
DEFAULT = "chinampa-default"
"""The profile of containers whose pod asks for the runtime's default."""
TEXT = Path(__file__).with_name("apparmor.profile")
SYS = Path("/sys")
PARSER = "apparmor_parser"
# The parser compiles the profile in some tenths of a second.
LOAD_SECONDS = 20.0


def loaded(sys: Path = SYS) -> frozenset[str] | None:
    """The names of the profiles that are loaded now; None where the kernel has no AppArmor."""
    try:
        if (sys / "module/apparmor/parameters/enabled").read_text().strip() != "Y":
            return None
        return names((sys / "kernel/security/apparmor/profiles").read_text())
    except OSError:
        return None


def names(table: str) -> frozenset[str]:
    """From the kernel's table, a line of which is "name (mode)"; a name may hold blanks. Pure."""
    return frozenset(line.rpartition(" (")[0] for line in table.splitlines() if line.endswith(")"))


async def load_default(sys: Path = SYS, parser: str = PARSER) -> None:
    """Load the profile that this agent brings, in place of an older one, where the kernel confines by AppArmor.

    Where it cannot be loaded the log says so, and containers run without.
    """
    if (before := loaded(sys)) is None:
        return
    try:
        # The cache of compiled profiles is the distribution's.
        await programs.check([parser, "--replace", "--skip-cache"], stdin=TEXT.read_bytes(), deadline=LOAD_SECONDS)
    except Fault as fault:
        what = "is the one of before" if DEFAULT in before else "is not there, and RuntimeDefault is no profile"
        log.warning("the AppArmor profile %s %s: %s: %s", DEFAULT, what, fault.thing[:80], fault.cause)
    else:
        log.info("containers are confined by the AppArmor profile %s", DEFAULT)
