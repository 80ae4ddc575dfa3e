"""The network of local instances: a bridge of ours, a veth for each instance, the metadata address inside.

An instance's second address is its pod's: as on EC2 it is told by the metadata service and not configured in the
system; the agent answers for it. Namespaces are not pinned: they last as long as the processes in them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.local import addresses, programs
from controller.clouds.local.inside.kernel import CLONE_NEWNET, setns
from controller.clouds.local.records import Record
from controller.clouds.local.settings import LocalSettings

METADATA = "169.254.169.254"
_IFACES = Path("/sys/class/net")
_BACKLOG = 64


class _Address(msgspec.Struct):
    local: str = ""
    prefixlen: int = 0


class _Device(msgspec.Struct):
    ifname: str = ""
    addr_info: list[_Address] = []


class _Member(msgspec.Struct):
    ifname: str


async def prepare(settings: LocalSettings) -> None:
    """Make the bridge as settings say, whatever is there already. Raises Fault EXISTS where the subnet is taken."""
    if len(settings.bridge) > 15:
        raise Fault(Kind.INVALID, f"bridge {settings.bridge}", "has more than 15 letters", "choose a shorter name")
    await _refuse_overlap(settings)
    own = f"{addresses.gateway(settings.subnet)}/{addresses.length(settings.subnet)}"
    mac = addresses.mac(addresses.gateway(settings.subnet))
    lines = [f"link set {settings.bridge} addrgenmode none up", f"address replace {own} dev {settings.bridge}"]
    if not (_IFACES / settings.bridge / "bridge").exists():
        lines.insert(0, f"link add {settings.bridge} address {mac} type bridge stp_state 0 forward_delay 0")
    await _batch(lines)
    if settings.masquerade:
        await _masquerade(settings)


async def remove(settings: LocalSettings) -> None:
    """Remove the bridge and every link on it. Nothing there is no error."""
    lines = [f"link del {name}" for name in await links(settings)]
    if (_IFACES / settings.bridge).exists():
        lines.append(f"link del {settings.bridge}")
    if lines:
        await programs.run(["ip", "-force", "-batch", "-"], stdin="\n".join(lines).encode())
    if settings.masquerade:
        await programs.run(["nft", "delete", "table", "ip", _table(settings)])


async def links(settings: LocalSettings) -> list[str]:
    """The names of the links on the bridge."""
    if not (_IFACES / settings.bridge).exists():
        return []
    found = await programs.check(["ip", "-json", "link", "show", "master", settings.bridge])
    return [member.ifname for member in msgspec.json.decode(found or b"[]", type=list[_Member])]


async def attach(settings: LocalSettings, record: Record) -> None:
    """Give the instance whose first process is `record.pid` its link, addresses and route."""
    name = addresses.veth(record.id)
    peer = f"peer name eth0 address {record.mac} netns {record.pid}"
    await _batch([f"link add name {name} up master {settings.bridge} type veth {peer}"])
    inside = [
        "link set lo up",
        f"address add {METADATA}/32 dev lo",
        "link set eth0 addrgenmode none up",
        f"address add {record.address}/{addresses.length(settings.subnet)} dev eth0",
        f"route add default via {addresses.gateway(settings.subnet)}",
    ]
    await _batch(inside, "nsenter", f"--net=/proc/{record.pid}/ns/net")


async def detach(record: Record) -> None:
    """Remove the instance's link, if it is still there."""
    name = addresses.veth(record.id)
    if (_IFACES / name).exists():
        await programs.run(["ip", "link", "del", name])  # the kernel may have been quicker


def metadata_socket(pid: int) -> socket.socket:
    """A listening socket at the metadata address inside the network namespace of this process. Raises Fault BROKEN."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((METADATA, 80))
            made.listen(_BACKLOG)
        except OSError:
            made.close()
            raise
        return made

    try:
        return _inside(pid, listen)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"metadata service of process {pid}", str(error)) from error


def _inside(pid: int, function: Callable[[], socket.socket]) -> socket.socket:
    """Run in that network namespace, on a thread that ends with it: a thread never comes back to be used for more."""

    def there() -> socket.socket:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(descriptor, CLONE_NEWNET)
        finally:
            os.close(descriptor)
        return function()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(there).result()


async def _batch(lines: list[str], *before: str) -> None:
    await programs.check([*before, "ip", "-batch", "-"], stdin="\n".join(lines).encode())


async def _refuse_overlap(settings: LocalSettings) -> None:
    ours = ipaddress.ip_network(settings.subnet)
    found = await programs.check(["ip", "-json", "-4", "address", "show"])
    for device in msgspec.json.decode(found or b"[]", type=list[_Device]):
        for address in device.addr_info:
            if device.ifname == settings.bridge or not address.local:
                continue
            theirs = ipaddress.ip_network(f"{address.local}/{address.prefixlen}", strict=False)
            if theirs.overlaps(ours):
                raise Fault(
                    Kind.EXISTS,
                    f"subnet {settings.subnet}",
                    f"overlaps with {theirs} of {device.ifname}",
                    "choose another subnet for the local cloud",
                )


def _table(settings: LocalSettings) -> str:
    return "chinampa_" + "".join(letter if letter.isalnum() else "_" for letter in settings.cluster)


async def _masquerade(settings: LocalSettings) -> None:
    table = _table(settings)
    rules = (
        f"table ip {table} {{}}\ndelete table ip {table}\ntable ip {table} {{\n"
        f"  chain out {{ type nat hook postrouting priority srcnat;\n"
        f'    ip saddr {settings.subnet} oifname != "{settings.bridge}" masquerade\n  }}\n}}\n'
    )
    await programs.check(["nft", "-f", "-"], stdin=rules.encode())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
