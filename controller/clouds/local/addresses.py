"""Which addresses an instance gets, and what follows from them. Pure.

An instance gets a pair: its own address and the next one, which is its pod's. The hardware address is made from
the first, so a pair that is used again never meets a stale neighbour entry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from cellwire.faults import Fault, Kind

_FIRST_PAIR = 4  # as on EC2, the first addresses belong to the network itself


def gateway(subnet: str) -> str:
    """The address of this machine in the network, without its length."""
    return str(ipaddress.ip_network(subnet)[1])


def second(subnet: str) -> str:
    """The router's own address: that of the resolver on EC2."""
    return str(ipaddress.ip_network(subnet)[2])


def network(address: str) -> str:
    """The network of an address with a length."""
    return str(ipaddress.ip_network(address, strict=False))


def overlap(address: str, subnet: str) -> bool:
    """Whether the network of an address with a length has addresses of a subnet."""
    return ipaddress.ip_network(address, strict=False).overlaps(ipaddress.ip_network(subnet))


def free_public(subnet: str, used: Collection[str]) -> str:
    """A public address that nobody has; the first is this machine's. Raises Fault NO_CAPACITY."""
    for address in ipaddress.ip_network(subnet).hosts():
        if str(address) != gateway(subnet) and str(address) not in used:
            return str(address)
    raise Fault(Kind.NO_CAPACITY, f"public addresses {subnet}", "none is free", "end instances or choose a larger one")


def sixth(subnet6: str, subnet: str, address: str) -> str:
    """The address of IPv6 that goes with one of IPv4, by the same number in its subnet; "" without a subnet."""
    if not subnet6:
        return ""
    number = int(ipaddress.ip_address(address)) - int(ipaddress.ip_network(subnet)[0])
    return str(ipaddress.ip_network(subnet6)[number])


def length(subnet: str) -> int:
    """The number of bits that name the network."""
    return ipaddress.ip_network(subnet).prefixlen


def pair_after(subnet: str, last: str, used: Collection[str]) -> tuple[str, str]:
    """The next free pair after `last` (empty: from the start), going round. Raises Fault NO_CAPACITY."""
    network = ipaddress.ip_network(subnet)
    count = (network.num_addresses - _FIRST_PAIR - 2) // 2
    first = (int(ipaddress.ip_address(last)) - int(network[0]) - _FIRST_PAIR) // 2 + 1 if last else 0
    for step in range(count):
        index = _FIRST_PAIR + 2 * ((first + step) % count)
        address = str(network[index])
        if address not in used:
            return address, str(network[index + 1])
    raise Fault(Kind.NO_CAPACITY, f"subnet {subnet}", "has no free addresses", "end instances or choose a larger one")


def mac(address: str) -> str:
    """A locally administered hardware address, one for each IPv4 address."""
    return "02:c1:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)


def hostname(address: str) -> str:
    """As EC2 names its hosts."""
    return "ip-" + address.replace(".", "-")


def veth(instance: str) -> str:
    """Name of the router's link to the instance: 15 letters at most."""
    return "ch" + instance.removeprefix("i-")[-13:]
