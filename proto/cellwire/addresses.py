"""IP addresses as users, clusters and cells write them, read in one way. Pure.

An IPv6 address may carry the zone of an interface behind a "%", which is any text: no packet rule, name server or
object of the API takes that, and one such address would keep a kernel from all rules that are told with it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def address_of(written: object) -> Address:
    """The address that a text is. Raises ValueError for anything else, and for one with a zone."""
    if not isinstance(written, str) or "%" in written:
        raise ValueError(f"{str(written)[:60]!r} is no IP address")
    return ip_address(written)


def is_address(written: object) -> bool:
    """Whether a value is the text of an address."""
    try:
        address_of(written)
    except ValueError:
        return False
    return True
