"""Kubernetes quantities ("250m", "1.5Gi", "2e3") as exact numbers. Pure."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+|[numkMGTPE]?)$")
_BINARY = {name: 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_DECIMAL = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{name: Fraction(1000**power) for power, name in enumerate("kMGTPE", start=1)},
}
_LONGEST = 64


def parse(text: object) -> Fraction:
    """The exact value of a quantity; a bare number is one too. Raises ValueError for anything else."""
    written = str(text) if isinstance(text, (str, int, float)) and not isinstance(text, bool) else "?"
    matched = _QUANTITY.match(written) if len(written) <= _LONGEST else None
    if matched is None:
        raise ValueError("quantities must match a number with an optional suffix such as m, k, M, G, Ki, Mi or Gi")
    number, suffix = matched.groups()
    if suffix[:1] in {"e", "E"} and len(suffix) > 1:
        exponent = int(suffix[1:])
        if abs(exponent) > 30:
            raise ValueError("the exponent is out of range")
        return Fraction(number) * Fraction(10) ** exponent
    return Fraction(number) * (_BINARY[suffix] if suffix in _BINARY else _DECIMAL[suffix])


def millis(text: object) -> int:
    """CPU in thousandths, rounded up."""
    return math.ceil(parse(text) * 1000)


def whole(text: object) -> int:
    """Bytes or a count, rounded up."""
    return math.ceil(parse(text))
