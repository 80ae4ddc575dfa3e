"""Cluster IPs: which address of the range a Service gets, where there is no cluster that gives them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Network, ip_address

from cellwire.faults import Fault, Kind
from controller.objects.fields import Json, Report

HEADLESS = "None"
_EXTERNAL = "ExternalName"


def network(text: str) -> IPv4Network:
    """The range that a setting names. Raises Fault INVALID for one that has no room."""
    thing, mend = f"services.addresses {text!r}", "name a private range such as 10.96.0.0/16"
    try:
        found = IPv4Network(text)
    except ValueError as error:
        raise Fault(Kind.INVALID, thing, str(error), mend) from error
    if found.prefixlen > 29:
        raise Fault(Kind.INVALID, thing, "it has room for fewer than six Services", mend)
    return found


def needed(service: Json) -> bool:
    """Whether the Service is to have an address and has none."""
    spec: Json = service.get("spec") or {}
    return spec.get("type") != _EXTERNAL and not spec.get("clusterIP")


def free(range_: IPv4Network, taken: Collection[str], draw: Callable[[int], int]) -> str:
    """A free address, the next after the drawn one: who has been given back is not used again at once, for some may
    still dial it. Raises Fault UNAVAILABLE where none is left.
    """
    room = range_.num_addresses - 2
    first = draw(room)
    for step in range(room):
        address = str(range_[1 + (first + step) % room])
        if address not in taken:
            return address
    raise Fault(Kind.UNAVAILABLE, f"services.addresses {range_}", "every address is taken", "name a larger range")


def kept(after: Json, before: Json | None) -> Json:
    """The Service with its former address, where a client has left that out; without one where it is a name only."""
    spec: Json = dict(after.get("spec") or {})
    former: Json = (before or {}).get("spec") or {}
    if spec.get("type") == _EXTERNAL:
        for field in ("clusterIP", "clusterIPs"):
            spec.pop(field, None)
    elif not spec.get("clusterIP") and former.get("clusterIP"):
        spec |= {"clusterIP": former["clusterIP"], "clusterIPs": [former["clusterIP"]]}
    return {**after, "spec": spec}


def given(service: Json, address: str) -> Json:
    """The Service at this address."""
    return {**service, "spec": {**service["spec"], "clusterIP": address, "clusterIPs": [address]}}


def check(service: Json, before: Json | None, range_: IPv4Network, taken: Collection[str], report: Report) -> None:
    """Report addresses that a Service newly names and cannot have, and families of addresses that cells have not."""
    spec: Json = service.get("spec") or {}
    if spec.get("type") == _EXTERNAL:
        return
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        report.invalid("spec.ipFamilyPolicy", "RequireDualStack", "cells have IPv4 addresses only")
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family != "IPv4":
            report.invalid(f"spec.ipFamilies[{index}]", family, "cells have IPv4 addresses only")
    address = spec.get("clusterIP")
    if address and (listed := spec.get("clusterIPs")) not in (None, [], [address]):
        report.invalid("spec.clusterIPs", listed, "must be the one address of spec.clusterIP")
    if not address or address == HEADLESS or (before and (before.get("spec") or {}).get("clusterIP") == address):
        return
    why = _refusal(str(address), range_, taken)
    if why:
        report.invalid("spec.clusterIPs", [address], why)


def _refusal(address: str, range_: IPv4Network, taken: Collection[str]) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return "must be empty, 'None', or a valid IP address"
    if found not in range_ or found in (range_[0], range_[-1]):
        return f"the provided IP is not in the valid range. The range of valid IPs is {range_} (services.addresses)"
    return "provided IP is already allocated" if address in taken else ""
