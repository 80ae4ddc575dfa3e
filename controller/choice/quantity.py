"""Kubernetes quantities ("100m", "64Mi", "1e3", "0.5") as exact numbers. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from math import ceil

from cellwire.faults import Fault, Kind

SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
# Two digits of exponent are more than any quantity means, and keep a hostile "1e999999999" from becoming a number.
FORM = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:([eE][+-]?\d{1,2})|([KMGTPE]i|[numkMGTPE]))?", re.ASCII
)
LARGEST = Decimal(2**63 - 1)


def quantity(text: object) -> Decimal:
    """The exact value. Raises Fault INVALID for what is no quantity, is negative, or is beyond 2^63 - 1."""
    written = str(text) if isinstance(text, (str, int, float)) and not isinstance(text, bool) else ""
    found = FORM.fullmatch(written)
    if found is None:
        raise Fault(
            Kind.INVALID, f"quantity {text!r}", "it is not a number with a unit", 'write it as "500m" or "64Mi"'
        )
    number, exponent, suffix = found.groups()
    value = Decimal(number + (exponent or "")) * SUFFIXES[suffix or ""]
    if not 0 <= value <= LARGEST:
        raise Fault(Kind.INVALID, f"quantity {text!r}", "it is negative or beyond 2^63 - 1")
    return value


def millis(text: object) -> int:
    """CPU in thousandths, rounded up as Kubernetes does."""
    return ceil(quantity(text) * 1000)


def mebibytes(text: object) -> int:
    """Memory in MiB, rounded up."""
    return ceil(quantity(text) / 2**20)


def gigabytes(text: object) -> int:
    """Disk in GB of 10^9 bytes, rounded up."""
    return ceil(quantity(text) / 10**9)
