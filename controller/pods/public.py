"""Addresses at which a registry may be asked that only a user's image, or another registry, names.

A pod's image says whom the controller asks, and that host's redirects and token servers say whom it asks next. Nobody
is to be led to what listens on this machine or to its metadata service that way, nor, by another's word, into the
private network. Names are resolved here, at the connection, so that a name cannot change its address after the look.
"""

from __future__ import annotations

import ipaddress
import socket
from contextvars import ContextVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Allowed(msgspec.Struct, frozen=True):
    """Hosts of one request: those `named` by the settings, each with its port (see `place`), may be anywhere, the one
    `asked` for the image in private networks as well, all others in public ones only.
    """

    named: frozenset[str] = frozenset()
    asked: str = ""

    def admits(self, host: str, port: int, address: str) -> bool:
        """Whether the host may be asked at the address, IPv4 or IPv6. False for what is no address."""
        if f"{host}:{port}" in self.named:
            return True
        try:
            found = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast or found == _METADATA:
            return False
        return found.is_global or (host == self.asked and found.is_private)

    def refuses_literal(self, url: str) -> bool:
        """Whether the address in a URL is one that may not be asked; a name is looked at when it is resolved."""
        host = urlsplit(url).hostname or ""
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return not self.admits(host, _port(url), host)


def place(url: str) -> str:
    """The host of a URL and its port: what else listens on a host that the settings name, they do not name."""
    return f"{urlsplit(url).hostname or ''}:{_port(url)}"


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or (443 if urlsplit(url).scheme == "https" else 80)
    except ValueError:
        return 0


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to by mapping, 6to4 or NAT64's well-known prefix; else the same."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if address in _NAT64 or int(address) >> 32 == 0:
        return address if int(address) <= 1 else ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


# EC2's metadata service over IPv6 is at a unique local address.
_METADATA = ipaddress.IPv6Address("fd00:ec2::254")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What the request under way may reach; set by who asks, read where its names are resolved.
REQUEST: ContextVar[Allowed] = ContextVar("REQUEST")


class PublicResolver(AbstractResolver):
    """The machine's resolver, of whose answers those are dropped that the request under way may not reach."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError where it has none that may be asked."""
        allowed = REQUEST.get(Allowed())
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if allowed.admits(host, port, each["host"])]
        if not kept:
            raise OSError(None, f"{host} is at addresses of this machine or its network, and no setting names it")
        return kept

    async def close(self) -> None:
        await self._inner.close()
