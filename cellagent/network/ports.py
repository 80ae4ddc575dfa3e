"""Host ports: connections to a port of this machine go to the pod. Rules of nftables, one table for each pod. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cellwire.addresses import address_of
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind


class PortMapping(msgspec.Struct, frozen=True, kw_only=True):
    """One mapping; `host_ip` empty is "every address of this machine"."""

    protocol: str
    container: int
    host: int
    host_ip: str = ""


def wanted(mappings: Sequence[cri.PortMapping]) -> tuple[PortMapping, ...]:
    """The port mappings that name a host port. Raises Fault for what is no port or no address."""
    found: list[PortMapping] = []
    for one in mappings:
        if not one.host_port:
            continue
        if not (0 < one.host_port < 65536 and 0 < one.container_port < 65536):
            raise Fault(Kind.INVALID, f"host port {one.host_port}:{one.container_port}", "ports go from 1 to 65535")
        if one.protocol not in cri.Protocol.values():
            raise Fault(Kind.INVALID, f"host port {one.host_port}", f"no protocol is {one.protocol}")
        protocol = cri.Protocol.Name(one.protocol).lower()
        address = "" if one.host_ip in {"", "0.0.0.0", "::"} else _address(one)  # noqa: S104
        found.append(PortMapping(protocol=protocol, container=one.container_port, host=one.host_port, host_ip=address))
    return tuple(found)


def _address(mapping: cri.PortMapping) -> str:
    try:
        return str(address_of(mapping.host_ip))
    except ValueError as error:
        raise Fault(
            Kind.INVALID, f"host port {mapping.host_port}", str(error), "name an address of the host"
        ) from error


def rules(table: str, link: str, addresses: Sequence[str], ports: Sequence[PortMapping]) -> str:
    """What nft reads to send the ports to a pod behind `link`; replaces an older table of that name whole."""
    turned = [line for address in addresses for port in ports if (line := _turn(address, port))]
    hairpin: list[str] = []
    for address in addresses:
        family = _family(address)
        # The pod that calls its own host port, and this machine calling by its loopback, must get their answers back.
        hairpin.append(f"{family} saddr {address} {family} daddr {address} masquerade")
        if family == "ip":
            hairpin.append(f'oifname "{link}" ip saddr 127.0.0.0/8 ip daddr {address} masquerade')
    chains = {
        "prerouting": ("type nat hook prerouting priority -100", turned),
        "output": ("type nat hook output priority -100", turned),
        "postrouting": ("type nat hook postrouting priority 100", hairpin),
    }
    return removal(table) + _table(table, chains)


def masquerade(table: str, bridge: str, subnets: Sequence[str]) -> str:
    """What nft reads so that pods of a bridge leave this machine with its address.

    So does a pod that calls a host port behind which another pod of the bridge is: the answer would otherwise go from
    pod to pod across the bridge, past the table that turned the call, unless br_netfilter is loaded.
    """
    lines: list[str] = []
    for subnet in subnets:
        source = f"{_family(subnet)} saddr {subnet}"
        lines.append(f'{source} oifname != "{bridge}" masquerade')
        lines.append(f'{source} oifname "{bridge}" ct status dnat masquerade')
    return removal(table) + _table(table, {"postrouting": ("type nat hook postrouting priority 100", lines)})


def removal(table: str) -> str:
    """What nft reads to remove a table, whether or not it is there."""
    return f"table inet {table}\ndelete table inet {table}\n"


def _turn(address: str, port: PortMapping) -> str:
    family = _family(address)
    if port.host_ip and _family(port.host_ip) != family:
        return ""
    there = f"{family} daddr {port.host_ip}" if port.host_ip else "fib daddr type local"
    kind = "" if port.host_ip else f"meta nfproto {'ipv4' if family == 'ip' else 'ipv6'} "
    end = address if family == "ip" else f"[{address}]"
    return f"{kind}{there} {port.protocol} dport {port.host} dnat {family} to {end}:{port.container}"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def _table(table: str, chains: dict[str, tuple[str, list[str]]]) -> str:
    lines = [f"table inet {table} {{"]
    for name, (hook, chain) in chains.items():
        lines += [f"  chain {name} {{", f"    {hook};", *(f"    {rule}" for rule in chain), "  }"]
    return "\n".join([*lines, "}", ""])
