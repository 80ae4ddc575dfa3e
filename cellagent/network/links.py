"""Links, addresses and routes, by iproute2: one process for many commands, in the agent's namespace or a pod's."""

from __future__ import annotations

import fcntl
import hashlib
import json
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellwire.faults import Fault, Kind
from hostkit import programs

_SIOCGIFMTU = 0x8921


def cable(sandbox: str) -> str:
    """The name of the cell's end of a sandbox's cable: at most 15 letters."""
    return "pod" + hashlib.sha256(sandbox.encode()).hexdigest()[:10]


async def batch(commands: Sequence[str], namespace: Path | None = None, *, family: str = "") -> None:
    """Carry out commands of `ip`, ending at the first that fails. Raises Fault with its words.

    Addresses tell their family, but for those in rules, which are IPv4 where `family` ("-6") does not say otherwise.
    """
    if commands:
        enter = ["nsenter", f"--net={namespace}"] if namespace else []
        ip = ["ip", *([family] if family else []), "-batch", "-"]
        await programs.check([*enter, *ip], stdin="\n".join(commands).encode())


async def attempt(commands: Sequence[str], *, family: str = "") -> None:
    """Carry out all of them, whichever fail: for removing what may not be there."""
    ip = ["ip", *([family] if family else []), "-force", "-batch", "-"]
    await programs.run(ip, stdin="\n".join(commands).encode())


async def show(*what: str) -> list[dict[str, Any]]:
    """What `ip -json …` lists."""
    return json.loads(await programs.check(["ip", "-json", *what]) or b"[]")


def number(link: str) -> int:
    """The number of a link in this namespace; 0 where there is none of that name."""
    # Asked by the system call: /sys may show another namespace's links.
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return 0


def mtu(link: str) -> int:
    """The largest packet of a link."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        answer = fcntl.ioctl(door, _SIOCGIFMTU, struct.pack("16si20x", link.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


async def uplink() -> str:
    """The link that the default route takes. Raises Fault where there is none."""
    for family in ("-4", "-6"):
        for route in await show(family, "route", "show", "default"):
            if name := route.get("dev"):
                return name
    raise Fault(Kind.UNAVAILABLE, "uplink", "this machine has no default route", "give it a network")


async def own_addresses() -> tuple[str, ...]:
    """This machine's own addresses, the first of each family, for pods that share its network."""
    try:
        listed = await show("address", "show", "scope", "global", "dev", await uplink())
    except Fault:
        listed = await show("address", "show", "scope", "global", "up")
    found: dict[str, str] = {}
    for link in listed:
        for info in link.get("addr_info", ()):
            # An address that the scope leaves out stands in the list as an empty object.
            if info:
                found.setdefault(info["family"], info["local"])
    return tuple(found[family] for family in ("inet", "inet6") if family in found)


def setting(name: str, text: str) -> None:
    """Write a setting below /proc/sys, if it is not so already. Raises Fault."""
    path = Path("/proc/sys", name)
    try:
        if path.read_text().strip() != text:
            path.write_text(text)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"sysctl {name}", str(error.strerror), "the agent must run as root") from error


async def forward6() -> None:
    """Have this machine forward IPv6. Raises Fault."""
    # A machine that forwards no longer listens to its router's advertisements, unless it is told to ("2").
    for route in await show("-6", "route", "show", "default"):
        listens = f"net/ipv6/conf/{route.get('dev')}/accept_ra"
        if Path("/proc/sys", listens).exists() and Path("/proc/sys", listens).read_text().strip() == "1":
            setting(listens, "2")
    setting("net/ipv6/conf/all/forwarding", "1")


def has_ipv6() -> bool:
    """Whether this machine has IPv6."""
    off = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    return off.exists() and off.read_text().strip() == "0"
