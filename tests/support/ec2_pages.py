"""Long lists cut into pages by MaxResults, as EC2 does it: moto sends all of them at once.

What is listed is the same in each account of a region and for as long as moto runs, and takes moto seconds to write: it
is asked once in a process.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

LISTS = {
    "DescribeInstanceTypes": "instanceTypeSet",
    "DescribeInstanceTypeOfferings": "instanceTypeOfferingSet",
    "DescribeSpotPriceHistory": "spotPriceHistorySet",
}
"""By action, what holds its items."""
# What says nothing of which items there are: moto's prices hold from ever on.
_OF_THE_CALL = frozenset({"MaxResults", "NextToken", "StartTime", "DryRun"})

_known: dict[tuple[str, str, str], tuple[str, ...]] = {}


def is_cut(action: str, parameters: dict[str, Any]) -> bool:
    """Whether the answer is a page."""
    return action in LISTS and "MaxResults" in parameters


def page(region: str, action: str, parameters: dict[str, Any]) -> bytes | None:
    """The page that is asked for; None where the whole list is not known yet."""
    items = _known.get(_key(region, action, parameters))
    if items is None:
        return None
    begin = int(parameters.get("NextToken", 0))
    end = begin + int(parameters["MaxResults"])
    more = f"<nextToken>{end}</nextToken>" if end < len(items) else ""
    inner = "".join(items[begin:end])
    listed = f"<{LISTS[action]}>{inner}</{LISTS[action]}>"
    return f"<{action}Response><requestId>r-{begin}</requestId>{listed}{more}</{action}Response>".encode()


def remember(region: str, action: str, parameters: dict[str, Any], whole: bytes) -> None:
    """The whole list, as moto answers it."""
    root = ElementTree.fromstring(whole)
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    found = root.find(LISTS[action])
    items = () if found is None else tuple(ElementTree.tostring(each, encoding="unicode") for each in found)
    _known[_key(region, action, parameters)] = items


def _key(region: str, action: str, parameters: dict[str, Any]) -> tuple[str, str, str]:
    asked = {name: value for name, value in parameters.items() if name not in _OF_THE_CALL}
    return region, action, json.dumps(asked, sort_keys=True)
