"""AWS's partitions: what differs between them for us. Pure.

Sources: the SDK's own partitions and endpoints (botocore 1.43), and "AWS Price List" for the currencies.
"""

from __future__ import annotations

import msgspec


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """`prices` is the region that serves the price list, "" where the partition has none. Prices there are in
    `currency`, of which one is worth about `usd`: enough to rank by and to bound costs, no rate to pay by.
    """

    name: str
    prices: str
    currency: str = "USD"
    usd: float = 1.0


_COMMERCIAL = Partition(name="aws", prices="us-east-1")
# By the beginning of their regions' names, the longer before the shorter.
_OTHERS = (
    ("us-isob-", Partition(name="aws-iso-b", prices="us-isob-east-1")),
    ("us-isof-", Partition(name="aws-iso-f", prices="us-isof-south-1")),
    ("us-iso-", Partition(name="aws-iso", prices="us-iso-east-1")),
    ("eu-isoe-", Partition(name="aws-iso-e", prices="eu-isoe-west-1")),
    ("us-gov-", Partition(name="aws-us-gov", prices="")),
    ("cn-", Partition(name="aws-cn", prices="cn-northwest-1", currency="CNY", usd=0.14)),
    ("eusc-", Partition(name="aws-eusc", prices="eusc-de-east-1", currency="EUR", usd=1.15)),
)


def of(region: str) -> Partition:
    """The partition of a region."""
    return next((found for beginning, found in _OTHERS if region.startswith(beginning)), _COMMERCIAL)
