"""The local cloud's VPC as values, and the packet rules of its router that follow from them. Pure: text for nft.

The router does to instances' packets what EC2's network does: a security group admits what its rules name and the
answers to what was allowed out; what leaves the VPC must come from an address that has a public one, or pass a NAT
gateway, and is dropped in silence otherwise. Source and destination are checked by the kernel's reverse path filter
and by the routes that exist.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

MACHINE = "machine"
"""The router's end of the link to this machine, which is a member of the VPC and its way out."""
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_ANY = "-1"
_PORTS = {"tcp", "udp", "sctp"}


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule of a security group lets through: `protocol` "tcp", "udp", "icmp" or "-1" (any); ports from `first`
    to `last`; the other side in one of `networks`, or a member of one of `groups`.
    """

    protocol: str = _ANY
    first: int = 0
    last: int = 65535
    networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class SecurityGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A security group."""

    ingress: tuple[Permission, ...] = ()
    egress: tuple[Permission, ...] = (Permission(networks=("0.0.0.0/0",)),)


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """An instance's link as the router sees it; `sixth` is its address of IPv6, "" without one. No `groups` is
    "everything is admitted". `checked` is EC2's source and destination check: without it the instance may send and be
    sent what is not its own.
    """

    link: str
    address: str
    others: tuple[str, ...] = ()
    sixth: str = ""
    public: str = ""
    groups: tuple[str, ...] = ()
    checked: bool = True

    @property
    def ruled(self) -> bool:
        """Whether the router has rules about it in particular."""
        return bool(self.public or self.groups)


class Vpc(msgspec.Struct, frozen=True, kw_only=True):
    """All that the router's rules are made from. `reachable` are this machine's own addresses and the networks that it
    leads to; `nat` tells that there is a NAT gateway; `machine_groups` are the groups that this machine is a member of.
    """

    subnet: str
    subnet6: str = ""
    reachable: tuple[str, ...] = ()
    nat: bool = False
    groups: Mapping[str, SecurityGroup] = {}
    interfaces: tuple[Interface, ...] = ()
    machine: str = ""
    machine_groups: tuple[str, ...] = ()


def rules(vpc: Vpc) -> str:
    """What nft reads; replaces what was there whole."""
    lines = ["table inet vpc {}", "delete table inet vpc", "table inet vpc {"]
    lines += _public(vpc)
    lines += _sets(vpc)
    for name, group in vpc.groups.items():
        lines += _chain(f"in_{_plain(name)}", [_admitted(one, "s") for one in group.ingress])
        lines += _chain(f"out_{_plain(name)}", [_admitted(one, "d") for one in group.egress])
    grouped = [one for one in vpc.interfaces if one.groups]
    for number, one in enumerate(grouped):
        known = [_plain(name) for name in one.groups if name in vpc.groups]
        lines += _chain(f"from_{number}", [*(f"jump out_{name}" for name in known), "drop"])
        lines += _chain(f"to_{number}", [*(f"jump in_{name}" for name in known), "drop"])
    lines += _forward(vpc, grouped)
    return "\n".join([*lines, "}", ""])


def reached(addresses: Sequence[tuple[str, str, int]], subnet: str, routes: Sequence[str]) -> tuple[str, ...]:
    """Where instances may go beyond the VPC without a NAT gateway: to this machine's own addresses, each given as
    (link, address, length), and to networks that settings name.

    What a kube-proxy in IPVS mode gives the machine are Services, which no VPC knows.
    """
    own = [
        address
        for link, address, _ in addresses
        if not link.startswith(("kube-ipvs", "nodelocaldns")) and not ipaddress.ip_address(address).is_loopback
    ]
    inside = ipaddress.ip_network(subnet)
    found = [f"{one}/32" for one in own if ipaddress.ip_address(one) not in inside]
    return tuple(dict.fromkeys([*found, *routes]))


def connected(addresses: Sequence[tuple[str, str, int]]) -> tuple[str, ...]:
    """The networks that this machine is in: a NAT gateway leads there though they are private."""
    networks = [ipaddress.ip_network(f"{address}/{length}", strict=False) for _, address, length in addresses]
    return tuple(dict.fromkeys(str(one) for one in networks if one.prefixlen < 32 and not one.is_loopback))


def _public(vpc: Vpc) -> list[str]:
    public = [one for one in vpc.interfaces if one.public]
    into = ", ".join(f"{one.public} : {one.address}" for one in public)
    out = ", ".join(f"{one.address} : {one.public}" for one in public)
    primary = ", ".join(one.address for one in public)
    lines = [
        f"  map public_in {{ type ipv4_addr : ipv4_addr{f'; elements = {{ {into} }}' if public else ''}; }}",
        f"  map public_out {{ type ipv4_addr : ipv4_addr{f'; elements = {{ {out} }}' if public else ''}; }}",
        f"  set with_public {{ type ipv4_addr{f'; elements = {{ {primary} }}' if public else ''}; }}",
    ]
    lines += _chain("prerouting", ["dnat ip to ip daddr map @public_in"], "type nat hook prerouting priority -100")
    leaving = [
        "ct status dnat snat ip to ip saddr map @public_out",
        f'oifname "{MACHINE}" ip daddr != {_within(vpc)} snat ip to ip saddr map @public_out',
    ]
    lines += _chain("postrouting", leaving, "type nat hook postrouting priority 100")
    return lines


def _sets(vpc: Vpc) -> list[str]:
    lines: list[str] = []
    for name in vpc.groups:
        members = [
            address
            for one in vpc.interfaces
            if name in one.groups
            for address in (one.address, *one.others)
        ]  # fmt: skip
        if name in vpc.machine_groups:
            members.append(vpc.machine)
        lines.append(_set(f"of_{_plain(name)}", "ipv4_addr", members))
        sixths = [one.sixth for one in vpc.interfaces if name in one.groups and one.sixth]
        if name in vpc.machine_groups and vpc.subnet6:
            sixths.append(str(ipaddress.ip_network(vpc.subnet6)[1]))
        lines.append(_set(f"of6_{_plain(name)}", "ipv6_addr", sixths))
    return lines


def _set(name: str, kind: str, members: Sequence[str]) -> str:
    elements = f"; elements = {{ {', '.join(members)} }}" if members else ""
    return f"  set {name} {{ type {kind}{elements}; }}"


def _forward(vpc: Vpc, grouped: Sequence[Interface]) -> list[str]:
    leaving = [f"ip daddr {_within(vpc)} accept", "ip saddr @with_public accept"]
    if vpc.nat:
        leaving.append(f"ip daddr != {{ {', '.join(_PRIVATE)} }} accept")
    if vpc.subnet6:
        leaving.append(f"ip6 daddr {vpc.subnet6} accept")
    lines = _chain("leaving", [*leaving, "drop"])
    # Two chains at one hook: what the sender's groups let out, the receiver's must still let in.
    answers = "ct state established,related accept"
    # The source check; of IPv4 the kernel has one.
    false = [
        f'iifname "{one.link}" meta nfproto ipv6 ip6 saddr != {one.sixth} drop'
        for one in vpc.interfaces
        if one.checked and one.sixth
    ]
    out = [*false, answers, *(f'iifname "{one.link}" jump from_{number}' for number, one in enumerate(grouped))]
    into = [answers, *(f'oifname "{one.link}" jump to_{number}' for number, one in enumerate(grouped))]
    lines += _chain("egress", out, "type filter hook forward priority -10")
    return lines + _chain(
        "ingress", [*into, f'oifname "{MACHINE}" jump leaving'], "type filter hook forward priority 0"
    )


def _within(vpc: Vpc) -> str:
    """The VPC and what its routes lead to besides, as a set without overlaps."""
    networks = ipaddress.collapse_addresses(ipaddress.IPv4Network(one) for one in (vpc.subnet, *vpc.reachable))
    return f"{{ {', '.join(map(str, networks))} }}"


def _admitted(permission: Permission, side: str) -> str:
    found: list[str] = []
    what = _what(permission)
    for family, mark in (("ip", False), ("ip6", True)):
        if there := [network for network in permission.networks if (":" in network) == mark]:
            found.append(f"{what}{family} {side}addr {{ {', '.join(there)} }} accept")
    found += [f"{what}ip {side}addr @of_{_plain(name)} accept" for name in permission.groups]
    found += [f"{what}ip6 {side}addr @of6_{_plain(name)} accept" for name in permission.groups]
    return "\n    ".join(found)


def _what(permission: Permission) -> str:
    if permission.protocol in _PORTS:
        return f"{permission.protocol} dport {permission.first}-{permission.last} "
    return "" if permission.protocol == _ANY else f"meta l4proto {permission.protocol} "


def _chain(name: str, lines: Sequence[str], hook: str = "") -> list[str]:
    return [f"  chain {name} {{", *([f"    {hook};"] if hook else []), *(f"    {one}" for one in lines if one), "  }"]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
