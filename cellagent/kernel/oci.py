"""Which OCI runtime this machine can use, and why."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from cellagent.kernel import cgroups
from cellagent.kernel.processes import SEARCH_PATH
from cellwire.faults import Fault, Kind


class OciRuntime(msgspec.Struct, frozen=True):
    """The program that makes containers, and the reason in words for taking it."""

    path: Path
    name: str
    why: str


def detect() -> OciRuntime:
    """Crun where it works, else runc. Raises Fault UNSUPPORTED where there is neither."""
    crun, runc = (shutil.which(name, path=SEARCH_PATH) for name in ("crun", "runc"))
    blocked = _leftover_controllers()
    if crun and not blocked:
        return OciRuntime(Path(crun), "crun", "crun is the quicker one, and works here")
    if runc:
        why = f"crun refuses a version 2 hierarchy that holds {blocked} beside version 1" if blocked else "no crun here"
        return OciRuntime(Path(runc), "runc", why)
    raise Fault(
        Kind.UNSUPPORTED,
        "OCI runtime",
        f"crun cannot be used ({blocked} is in the version 2 hierarchy) and runc is missing"
        if crun
        else "there is none",
        "install Debian's package runc" if crun else "install Debian's package crun",
    )


def _leftover_controllers() -> str:
    """Controllers that the version 2 hierarchy holds where version 1 is mounted beside it."""
    if cgroups.layout() is not cgroups.Layout.HYBRID:
        return ""
    try:
        return (cgroups.ROOT / "unified" / "cgroup.controllers").read_text().strip()
    except OSError:
        return ""
