"""The network of a pod in a cell: the pod has the cell's second address, and one of IPv6 where the cloud gives one.

A /32 route leads to the pod's cable, and the cell answers for the address on its uplink (a cloud needs no answer, a
bridge does). The rules of routing stay as every machine has them: packet rules keep the pod from the metadata service.
`restore` puts back what somebody else has taken away, as systemd-networkd does with what it did not make, and takes
the pod's address from the cell, to which a machine image's own services may give it at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from cellagent.network import guard, links
from cellagent.network.guard import Guard
from cellwire.faults import Fault, Kind
from hostkit import programs

GATEWAY = "169.254.1.1"
# The same on each cable, which has nobody but the two.
GATEWAY6 = "fe80::1"
METADATA = guard.METADATA
_TABLE = "g"
"""The packet rules are in a table named as the cable and this: the cable's own name is the table of host ports."""


async def attach(wanted: Guard, sandbox: str, namespace: Path) -> tuple[str, ...]:
    """Connect the pod: `wanted` without names and uplink gets them here. Raises Fault."""
    made = await _named(wanted, sandbox)
    address = made.address
    async with asyncio.TaskGroup() as both:
        # The pod's end comes up only when its rules are there.
        both.create_task(_rule(made))
        both.create_task(_cable(made, links.mtu(made.uplink), namespace))
    await links.batch([
        "link set lo up",
        f"address add {address}/32 dev eth0",
        "link set eth0 up",
        f"route add {GATEWAY} dev eth0 scope link",
        f"route add default via {GATEWAY} dev eth0 src {address}",
    ], namespace)  # fmt: skip
    if not made.address6:
        return (address,)
    await links.batch([
        f"address add {made.address6}/128 dev eth0 nodad",
        f"route add default via {GATEWAY6} dev eth0",
    ], namespace)  # fmt: skip
    return (address, made.address6)


async def share(wanted: Guard, sandbox: str) -> None:
    """Rules for a pod that shares the cell's own network. Raises Fault."""
    await _rule(Guard(table=table(sandbox), metadata=wanted.metadata))


async def detach(sandbox: str, addresses: Sequence[str], uplink: str) -> None:
    """Take all of it away; what is not there is no error."""
    name = links.cable(sandbox)
    commands = [f"link del {name}"]
    try:
        there = uplink or await links.uplink()
        commands += [f"neigh del proxy {one.partition('/')[0]} dev {there}" for one in filter(None, addresses)]
    except Fault:
        # Without an uplink or an address nobody answers for it either.
        pass
    await links.attempt(commands)
    await unshare(sandbox)


async def unshare(sandbox: str) -> None:
    """Take the packet rules away."""
    await programs.run(["nft", "-f", "-"], stdin=guard.removal(table(sandbox)).encode())


async def restore(wanted: Guard, sandbox: str) -> tuple[str, ...]:
    """Put right what is not as `attach` or `share` made it; a few words for each thing. Raises Fault."""
    found = await _restored_local_rules()
    shared = not wanted.address
    made = Guard(table=table(sandbox), metadata=wanted.metadata) if shared else await _named(wanted, sandbox)
    if not shared and links.number(made.cable):
        found += await _restored_way(made)
    if guard.rules(made) and not await ruled(made.table):
        await _rule(made)
        found.append("the packet rules")
    return tuple(found)


def table(sandbox: str) -> str:
    """The name of a sandbox's table of packet rules."""
    return links.cable(sandbox) + _TABLE


async def _named(wanted: Guard, sandbox: str) -> Guard:
    return Guard(
        table=table(sandbox),
        cable=links.cable(sandbox),
        address=_plain(wanted.address),
        address6=_plain6(wanted.address6) if links.has_ipv6() else "",
        uplink=wanted.uplink or await links.uplink(),
        vpc=wanted.vpc,
        metadata=wanted.metadata,
        public=wanted.public,
    )


async def _cable(made: Guard, mtu: int, namespace: Path) -> None:
    name, uplink = made.cable, made.uplink
    for address in filter(None, (made.address, made.address6)):
        await _disowned(address)
    await links.batch([
        f"link add name {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}",
        f"address add {GATEWAY}/32 dev {name}",
        f"link set {name} up",
        *_way(made.address, name, uplink),
    ])  # fmt: skip
    links.setting("net/ipv4/ip_forward", "1")
    # Else the kernel waits for up to 0.8 s before it answers for the pod.
    links.setting(f"net/ipv4/neigh/{uplink}/proxy_delay", "0")
    if made.address6:
        await _lead6(made)


async def _lead6(made: Guard) -> None:
    await links.forward6()
    links.setting(f"net/ipv6/conf/{made.uplink}/proxy_ndp", "1")
    links.setting(f"net/ipv6/neigh/{made.uplink}/proxy_delay", "0")
    await links.batch([
        f"address replace {GATEWAY6}/64 dev {made.cable} nodad",
        *_way(made.address6, made.cable, made.uplink),
    ])  # fmt: skip


def _way(address: str, name: str, uplink: str) -> list[str]:
    return [f"route replace {_host(address)} dev {name}", f"neigh replace proxy {address} dev {uplink}"]


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


async def _disowned(address: str) -> list[str]:
    """Take the pod's address from the cell, which would otherwise keep the pod's packets."""
    held = [
        (link["ifname"], info["prefixlen"])
        for link in await links.show("address", "show", "to", _host(address))
        for info in filter(None, link.get("addr_info", ()))
    ]
    for name, length in held:
        await links.batch([f"address del {address}/{length} dev {name}"])
    return [f"the pod's address, which {name} had" for name, _ in held]


async def _restored_local_rules() -> list[str]:
    """Rule 0 leads to the local table on every machine: without it nobody has even 127.0.0.1."""
    found: list[str] = []
    for family in ("-4", "-6"):
        if family == "-6" and not Path("/proc/net/if_inet6").exists():
            continue
        rules = await links.show(family, "rule", "show")
        if any(rule.get("table") == "local" and rule["priority"] == 0 for rule in rules):
            continue
        await links.batch(["rule add pref 0 from all lookup local"], family=family)
        found.append("the rule of the local table")
        # At its older place by an agent of an earlier version.
        if any(rule.get("table") == "local" for rule in rules):
            await links.attempt(["rule del pref 50 lookup local"], family=family)
    return found


async def _restored_way(made: Guard) -> list[str]:
    found = await _disowned(made.address)
    routes: list[dict[str, Any]] = await links.show("route", "show", "exact", f"{made.address}/32")
    if not any(route.get("dev") == made.cable for route in routes):
        found.append("the route to the pod")
    held = await links.show("address", "show", "dev", made.cable)
    if not any(info.get("local") == GATEWAY for link in held for info in link.get("addr_info", ())):
        found.append("the pod's gateway")
    if found:
        await links.batch([
            f"address replace {GATEWAY}/32 dev {made.cable}",
            f"link set {made.cable} up",
            *_way(made.address, made.cable, made.uplink),
        ])  # fmt: skip
    links.setting("net/ipv4/ip_forward", "1")
    if made.address6:
        found += await _restored_way6(made)
    return found


async def _restored_way6(made: Guard) -> list[str]:
    found = await _disowned(made.address6)
    routes: list[dict[str, Any]] = await links.show("-6", "route", "show", "exact", _host(made.address6))
    if not any(route.get("dev") == made.cable for route in routes):
        found.append("the route to the pod's address of IPv6")
    held = await links.show("address", "show", "dev", made.cable)
    if not any(info.get("local") == GATEWAY6 for link in held for info in link.get("addr_info", ())):
        found.append("the pod's gateway of IPv6")
    if found:
        await _lead6(made)
    return found


async def ruled(name: str) -> bool:
    """Whether there is a table of packet rules of this name."""
    return (await programs.run(["nft", "list", "table", "inet", name])).returncode == 0


async def _rule(made: Guard) -> None:
    if not (text := guard.rules(made)):
        return
    thing = "rules that keep a pod from the metadata service"
    try:
        done = await programs.run(["nft", "-f", "-"], stdin=text.encode())
    except Fault as fault:
        raise Fault(fault.kind, thing, fault.cause, "install Debian's package nftables") from fault
    if done.returncode:
        raise Fault(Kind.BROKEN, thing, done.words)


def _plain(address: str) -> str:
    try:
        return str(IPv4Address(address.partition("/")[0]))
    except AddressValueError as error:
        raise Fault(Kind.INVALID, f"pod address {address!r}", "it is no IPv4 address") from error


def _plain6(address: str) -> str:
    if not address:
        return ""
    try:
        return str(IPv6Address(address.partition("/")[0]))
    except AddressValueError as error:
        raise Fault(Kind.INVALID, f"pod address {address!r}", "it is no IPv6 address") from error
