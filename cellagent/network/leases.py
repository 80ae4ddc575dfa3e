"""Addresses of a lone agent's bridge: which sandbox has which, one small file for each.

A lock file keeps agents that share the folder apart. Addresses go round, so that one just given back rests for a while.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import files, locks

_LAST = ".last"
_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Nobody else changes leases meanwhile. Blocks; hold it for moments."""
    folder.mkdir(parents=True, exist_ok=True)
    with locks.held(folder / _LOCK):
        yield


def take(folder: Path, sandbox: str, subnet: str) -> str:
    """An address for a sandbox; the same again if it has one. Raises Fault NO_CAPACITY."""
    with locked(folder):
        known = everyone(folder)
        if sandbox in known:
            return known[sandbox]
        last = (folder / _LAST).read_text() if (folder / _LAST).exists() else ""
        address = following(subnet, last, frozenset(known.values()))
        # Whole or not at all: a torn lease would be an address that nobody has.
        files.replace(folder / sandbox, address.encode())
        (folder / _LAST).write_text(address)
        return address


def give_back(folder: Path, sandbox: str) -> None:
    """The sandbox needs its address no more. The unknown is no error."""
    with suppress(FileNotFoundError):
        (folder / sandbox).unlink()


def everyone(folder: Path) -> dict[str, str]:
    """Sandbox → address."""
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
