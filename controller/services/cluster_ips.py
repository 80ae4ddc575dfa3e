"""Cluster IPs: which addresses of the ranges a Service gets, where there is no cluster that gives them. Pure.

By the rules of Kubernetes' API server, for one range of IPv4 and, where settings name it, one of IPv6.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from cellwire.addresses import address_of
from cellwire.faults import Fault, Kind
from controller.objects.fields import Json, Report
from controller.services.model import LARGEST_RANGE

HEADLESS = "None"
V4, V6 = "IPv4", "IPv6"
SINGLE, REQUIRED = "SingleStack", "RequireDualStack"
POLICIES = (SINGLE, "PreferDualStack", REQUIRED)
Range = IPv4Network | IPv6Network
Ranges = Mapping[str, Range]
"""Ranges by family; the first is that of a Service which asks for none."""
_EXTERNAL = "ExternalName"
_GIVEN = ("clusterIP", "clusterIPs")


def ranges(text: str, text6: str = "") -> Ranges:
    """The ranges that settings name. Raises Fault INVALID for one that has no room."""
    found: dict[str, Range] = {V4: _range(IPv4Network, "services.addresses", text, "10.96.0.0/16")}
    if text6:
        found[V6] = _range(IPv6Network, "services.addresses6", text6, "fd00:10:96::/112")
    return found


def _range(kind: Callable[[str], Range], setting: str, text: str, example: str) -> Range:
    thing, mend = f"{setting} {text!r}", f"name a private range such as {example}"
    try:
        found = kind(text)
    except ValueError as error:
        raise Fault(Kind.INVALID, thing, str(error), mend) from error
    if found.max_prefixlen - found.prefixlen < 3:
        raise Fault(Kind.INVALID, thing, "it has room for fewer than six Services", mend)
    if found.version == 6 and found.prefixlen < LARGEST_RANGE[6]:
        raise Fault(Kind.INVALID, thing, f"it is larger than a /{LARGEST_RANGE[6]}", mend)
    return found


def family(address: str) -> str:
    """The family of an address."""
    return V6 if ":" in address else V4


def needed(service: Json, known: Ranges) -> bool:
    """Whether the Service is to have an address that it has not, and that there is a range for."""
    spec: Json = service.get("spec") or {}
    if spec.get("type") == _EXTERNAL or spec.get("clusterIP") == HEADLESS:
        return False
    families = spec.get("ipFamilies") or [V4]
    return len(held(service)) < len(families) and set(families) <= known.keys()


def held(service: Json) -> list[str]:
    """The cluster IPs of a Service; none of one without."""
    spec: Json = service.get("spec") or {}
    listed = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [str(one) for one in listed if one and one != HEADLESS]


def free(range_: Range, taken: Collection[str], draw: Callable[[int], int]) -> str:
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


def kept(after: Json, before: Json | None, known: Ranges) -> Json:
    """The Service with its former addresses, where a client has left those out, without one where it is a name only,
    and with the families that its policy asks for.
    """
    spec: Json = dict(after.get("spec") or {})
    former: Json = (before or {}).get("spec") or {}
    if spec.get("type") == _EXTERNAL:
        for field in _GIVEN:
            spec.pop(field, None)
        return {**after, "spec": spec}
    if not spec.get("clusterIP") and former.get("clusterIP"):
        spec |= {"clusterIP": former["clusterIP"], "clusterIPs": [former["clusterIP"]]}
    if spec.get("clusterIPs") == [former.get("clusterIP")]:
        spec["clusterIPs"] = former.get("clusterIPs") or spec["clusterIPs"]
    _released(spec, former)
    families = spec.get("ipFamilies") or [next(iter(known))]
    asked = spec.get("ipFamilyPolicy", SINGLE) != SINGLE and len(known) > 1 and len(families) == 1
    if asked and (not former.get("ipFamilies") or spec.get("ipFamilyPolicy") != former.get("ipFamilyPolicy")):
        families = [*families, *(one for one in known if one not in families)]
    return {**after, "spec": {**spec, "ipFamilies": list(families)}}


def _released(spec: Json, former: Json) -> None:
    """A Service that is to have one family from now on gives back what it had of the second."""
    if spec.get("ipFamilyPolicy") == SINGLE and former.get("ipFamilyPolicy", SINGLE) != SINGLE:
        for field in ("clusterIPs", "ipFamilies"):
            if spec.get(field) and spec[field] == former.get(field):
                spec[field] = spec[field][:1]


def given(service: Json, known: Ranges, taken: Collection[str], draw: Callable[[int], int]) -> Json:
    """The Service with an address of each of its families. Raises Fault UNAVAILABLE where none is left."""
    spec = service["spec"]
    found = held(service)
    for one in (spec.get("ipFamilies") or [V4])[len(found) :]:
        found.append(free(known[one], taken, draw))
    return {**service, "spec": {**spec, "clusterIP": found[0], "clusterIPs": found}}


def check(service: Json, before: Json | None, known: Ranges, taken: Collection[str], report: Report) -> None:
    """Report addresses that a Service newly names and cannot have, and families of addresses that there are not."""
    spec: Json = service.get("spec") or {}
    if spec.get("type") == _EXTERNAL:
        return
    policy, families = spec.get("ipFamilyPolicy", SINGLE), spec.get("ipFamilies") or []
    if policy not in POLICIES:
        report.unsupported("spec.ipFamilyPolicy", policy, POLICIES)
    if policy == REQUIRED and len(known) < 2 and not _by_hand(spec):
        report.invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services")
    if policy == SINGLE and len(families) > 1:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        report.invalid("spec.ipFamilyPolicy", policy, why)
    for index, one in enumerate(families):
        field = f"spec.ipFamilies[{index}]"
        if one not in (V4, V6):
            report.unsupported(field, one, (V4, V6))
        elif one in families[:index]:
            report.duplicate(field, one)
        elif one not in known and not _by_hand(spec):
            report.invalid(field, one, "not configured on this cluster")
    for value, why in _listed(spec, before, known, taken):
        report.invalid("spec.clusterIPs", value, why)


def _by_hand(spec: Json) -> bool:
    """Whether its endpoints are whatever somebody writes."""
    return spec.get("clusterIP") == HEADLESS and not spec.get("selector")


def _listed(spec: Json, before: Json | None, known: Ranges, taken: Collection[str]) -> Iterator[tuple[list[str], str]]:
    """What is wrong with a Service's addresses."""
    listed: list[str] = spec.get("clusterIPs") or []
    first = spec.get("clusterIP")
    if listed and listed[0] != first:
        yield listed, "first value must match `clusterIP`"
    elif len(listed) > 1 and (HEADLESS in listed or len({family(one) for one in listed}) < len(listed)):
        yield listed, "may specify no more than one IP for each IP family"
    elif len(listed) > len(spec.get("ipFamilies") or [V4]):
        yield listed, "must be as many as spec.ipFamilies"
    elif first and first != HEADLESS:
        former = held(before or {})
        for index, address in enumerate(listed or [first]):
            if address not in former and (why := _refusal(address, index, spec, known, taken)):
                yield [address], why


def _refusal(address: str, index: int, spec: Json, known: Ranges, taken: Collection[str]) -> str:
    try:
        found = address_of(address)
    except ValueError:
        return "must be empty, 'None', or a valid IP address"
    wanted = (spec.get("ipFamilies") or [V4])[index]
    if family(address) != wanted:
        return f"expected an {wanted} value as indicated by `ipFamilies[{index}]`"
    range_ = known.get(wanted)
    if range_ is None or found not in range_ or found in (range_[0], range_[-1]):
        return f"the provided IP is not in the valid range. The range of valid IPs is {range_} (services.addresses)"
    return "provided IP is already allocated" if address in taken else ""
