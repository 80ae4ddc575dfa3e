"""The network of a lone agent's pods: a bridge and addresses of its own, behind this machine's address.

The bridge comes with the first pod. It goes when it is retired and has none: to take it away holds up the kernel for
longer than all else of a pod's end. Which sandbox has which address is in one small file for each: a lock file keeps
agents that share the folder apart. Addresses go round, so that one just given back rests for a while.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from cellagent.network import links, ports
from cellwire.faults import Fault, Kind
from hostkit import files, locks, programs

_LAST = ".last"
_LOCK = ".lock"
# Bridges that this agent has set up, by name and number: a bridge made anew has another number.
_prepared: set[tuple[str, int]] = set()
# The last pod's going and the next one's coming must not meet; one lock for each event loop.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """A bridge's name and subnets; `subnet6` empty is "no IPv6". `folder` keeps the leases."""

    name: str
    subnet: str
    subnet6: str
    folder: Path


async def attach(bridge: Bridge, sandbox: str, namespace: Path) -> tuple[str, ...]:
    """Connect the pod. Raises Fault."""
    lease = await asyncio.to_thread(take_lease, bridge.folder, sandbox, bridge.subnet)
    addresses = (lease,)
    if bridge.subnet6 and links.has_ipv6():
        addresses = (lease, sixth(lease, bridge.subnet, bridge.subnet6))
    async with _lock():
        await _ready(bridge, six=len(addresses) > 1)
        name = links.cable(sandbox)
        await links.batch([
            f"link add name {name} type veth peer name eth0 netns {namespace}",
            f"link set {name} master {bridge.name} up",
            f"link set {name} type bridge_slave hairpin on",
        ])  # fmt: skip
    commands = ["link set lo up", "link set eth0 up"]
    for address in addresses:
        subnet = ipaddress.ip_network(bridge.subnet6 if ":" in address else bridge.subnet)
        commands.append(f"address add {address}/{subnet.prefixlen} dev eth0{' nodad' if ':' in address else ''}")
        commands.append(f"route add default via {subnet[1]} dev eth0")
    await links.batch(commands, namespace)
    return addresses


async def detach(bridge: Bridge, sandbox: str) -> None:
    """Take all of the pod's away; what is not there is no error."""
    if links.number(links.cable(sandbox)):
        await links.attempt([f"link del {links.cable(sandbox)}"])
    async with _lock():
        give_back_lease(bridge.folder, sandbox)


async def retire(name: str, folder: Path) -> None:
    """Take the bridge away, unless it has pods or is not there. `folder` keeps its leases. Raises Fault."""
    async with _lock():
        if leases(folder) or not links.number(name):
            return
        # Cables without a lease belong to somebody else.
        if not await links.show("link", "show", "master", name):
            # The bridge goes last: while it is there, whoever comes after a kill knows that there are rules too.
            _prepared.discard((name, links.number(name)))
            await filters(ports.removal(name))
            await links.attempt([f"link del {name}"])


async def filters(text: str, *, needed: str = "") -> None:
    """Have nft read rules. Without nft that is a Fault where `needed` says what for, else nothing is done."""
    try:
        done = await programs.run(["nft", "-f", "-"], stdin=text.encode())
    except Fault as fault:
        if fault.kind is Kind.UNSUPPORTED and not needed:
            return
        raise Fault(fault.kind, needed or "packet filter", fault.cause, "install Debian's package nftables") from fault
    if done.returncode:
        raise Fault(Kind.BROKEN, needed or "packet filter", done.words)


async def _ready(bridge: Bridge, *, six: bool) -> None:
    subnets = [bridge.subnet, *([bridge.subnet6] if six else [])]
    if not links.number(bridge.name):
        try:
            await links.batch([f"link add name {bridge.name} type bridge forward_delay 0"])
        except Fault:
            # Two sandboxes at once made it; it is enough that it is there.
            if not links.number(bridge.name):
                raise
    # Once for each agent, also where the bridge is there: whoever made it may have been killed before it was done.
    known = (bridge.name, links.number(bridge.name))
    if known in _prepared:
        return
    gateways = [f"{ipaddress.ip_network(one)[1]}/{ipaddress.ip_network(one).prefixlen}" for one in subnets]
    await links.batch([
        *(f"address replace {one} dev {bridge.name}{' nodad' if ':' in one else ''}" for one in gateways),
        f"link set {bridge.name} up",
    ])  # fmt: skip
    links.setting("net/ipv4/ip_forward", "1")
    # Lets this machine reach host ports by its loopback address.
    links.setting(f"net/ipv4/conf/{bridge.name}/route_localnet", "1")
    if six:
        await links.forward6()
    await filters(ports.masquerade(bridge.name, bridge.name, subnets))
    _prepared.add(known)


def _lock() -> asyncio.Lock:
    return _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Nobody else changes leases meanwhile. Blocks; hold it for moments."""
    folder.mkdir(parents=True, exist_ok=True)
    with locks.held(folder / _LOCK):
        yield


def take_lease(folder: Path, sandbox: str, subnet: str) -> str:
    """An address for a sandbox; the same again if it has one. Raises Fault NO_CAPACITY."""
    with locked(folder):
        known = leases(folder)
        if sandbox in known:
            return known[sandbox]
        last = (folder / _LAST).read_text() if (folder / _LAST).exists() else ""
        address = following(subnet, last, frozenset(known.values()))
        # Whole or not at all: a torn lease would be an address that nobody has.
        files.replace(folder / sandbox, address.encode())
        (folder / _LAST).write_text(address)
        return address


def give_back_lease(folder: Path, sandbox: str) -> None:
    """The sandbox needs its address no more. The unknown is no error."""
    with suppress(FileNotFoundError):
        (folder / sandbox).unlink()


def leases(folder: Path) -> dict[str, str]:
    """Addresses that are taken: sandbox → address."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def following(subnet: str, last: str, taken: Collection[str]) -> str:
    """The next free address after `last`; the first of a subnet is its gateway's. Pure. Raises Fault NO_CAPACITY."""
    network = ipaddress.ip_network(subnet)
    first = int(network.network_address) + 2
    count = network.num_addresses - 3
    start = 0
    with suppress(ValueError):
        start = (int(ipaddress.ip_address(last)) + 1 - first) % max(count, 1)
    for step in range(min(count, len(taken) + 1)):
        address = str(ipaddress.ip_address(first + (start + step) % count))
        if address not in taken:
            return address
    raise Fault(Kind.NO_CAPACITY, f"pod network {subnet}", "all its addresses are taken", "remove pods that have ended")


def sixth(address: str, subnet: str, subnet6: str) -> str:
    """The IPv6 address that goes with an IPv4 one: the same place in its own subnet. Pure."""
    place = int(ipaddress.ip_address(address)) - int(ipaddress.ip_network(subnet).network_address)
    return str(ipaddress.ip_network(subnet6)[place])
