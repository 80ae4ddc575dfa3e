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
    """The bridge's own address, without its length."""
    return str(ipaddress.ip_network(subnet)[1])


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
    """Name of the instance's link on the bridge: 15 letters at most."""
    return "ch" + instance.removeprefix("i-")[-13:]
