"""A finding of a check: the verdict, the thing, the cause, the mend. Pure."""

from __future__ import annotations

import enum

import msgspec

from cellwire.faults import Fault


class Verdict(enum.StrEnum):
    """`NOTE` works, but look; `LACKS` will not work."""

    OK = "ok"
    NOTE = "note"
    LACKS = "lacks"


class Finding(msgspec.Struct, frozen=True):
    """What a check has found of one thing; `mend` is empty where there is none."""

    verdict: Verdict
    thing: str
    cause: str = ""
    mend: str = ""


def of_fault(thing: str, fault: Fault) -> Finding:
    """A thing that could not be had."""
    return Finding(Verdict.LACKS, thing, f"{fault.thing}: {fault.cause}", fault.mend)
