"""An account's limits of vCPUs, which EC2 counts by classes of instance families. Pure.

Source: "Amazon EC2 service quotas", On-Demand and Spot instance limits.
"""

from __future__ import annotations

import re

# What refuses a type for its class's limit: the same for every type of the class that is as large.
CODES = frozenset({"VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"})
_FAMILY = re.compile(r"[a-z]+")
_NAMED = {"g": "g", "gr": "g", "vt": "g", "u": "u", "dl": "dl", "hpc": "hpc", "inf": "inf", "trn": "trn", "mac": "mac"}
_STANDARD = frozenset("acdhimrtz")


def quota_class(type_: str) -> str:
    """The class whose limit a type counts against, such as "standard" for m7g.large. Types of two classes differ."""
    found = _FAMILY.match(type_)
    family = found.group() if found else ""
    if family in _NAMED:
        return _NAMED[family]
    return "standard" if family[:1] in _STANDARD else family[:1]
