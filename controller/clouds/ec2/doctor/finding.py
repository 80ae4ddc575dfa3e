"""What a look has found: the thing, the cause, the mend. Pure."""

from __future__ import annotations

import msgspec

from cellwire.faults import Fault

OK, NOTE, LACKS = "ok", "note", "lacks"


class Finding(msgspec.Struct, frozen=True):
    """`verdict` is "ok", "note" (works, but look) or "lacks" (will not work); `mend` is empty where there is none."""

    verdict: str
    thing: str
    cause: str = ""
    mend: str = ""


def of_fault(thing: str, fault: Fault) -> Finding:
    """A thing that could not be had."""
    return Finding(LACKS, thing, f"{fault.thing}: {fault.cause}", fault.mend)
