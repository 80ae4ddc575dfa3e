"""Addresses at which a registry may be asked that only a user's image, or another registry, names.

A pod's image says whom this machine asks, and that host's redirects and token servers say whom it asks next. Nobody
is to be led to what listens on this machine or to its metadata service that way, nor, by another's word, into the
private network. What is looked at is the address of each connection, so that a name cannot change it after the look.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowedError(OSError):
    """Whoever was asked leads to where it may not lead."""

    def __init__(self, host: str) -> None:
        super().__init__(None, f"{host} is of this machine or its network, and no setting names it")


class Allowed(msgspec.Struct, frozen=True):
    """Hosts of one request: those `named` by the settings, each with its port (see `place`), may be anywhere, the one
    `asked` for the image in private networks as well, all others in public ones only.
    """

    named: frozenset[str] = frozenset()
    asked: str = ""

    def names(self, host: str, port: int) -> bool:
        """Whether the settings name this."""
        return f"{host}:{port}" in self.named

    def admits(self, host: str, port: int, address: str) -> bool:
        """Whether the host may be asked at the address, IPv4 or IPv6. False for what is no address."""
        if self.names(host, port):
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


class _Request:
    """The request under way: what it may reach, and the addresses found for it, with whether settings name them."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.found: dict[tuple[str, int], bool] = {}


# Set by who asks, read where names are resolved and connections are made.
_REQUEST: ContextVar[_Request] = ContextVar("_REQUEST")


class Reach:
    """Hosts and ports that requests may reach: those that the settings name, and where else `Allowed` says. None for
    `named`: anywhere.
    """

    def __init__(self, named: frozenset[str] | None) -> None:
        self._named = named

    @contextmanager
    def request(self, url: str, asked: str, proxy: str | None) -> Generator[None]:
        """A request over `connector`, for an image of the host `asked`. Raises NotAllowedError where the URL holds an
        address that may not be asked. Behind a proxy that is all: it resolves names, and decides what is reached.
        """
        if self._named is None:
            yield
            return
        allowed = Allowed(self._named | {place(proxy)} if proxy else self._named, asked)
        if allowed.refuses_literal(url):
            raise NotAllowedError(urlsplit(url).hostname or "")
        token = _REQUEST.set(_Request(allowed))
        try:
            yield
        finally:
            _REQUEST.reset(token)

    def connector(self) -> aiohttp.TCPConnector:
        """Connections of such requests. Where there are limits none is kept, and no answer of the resolver: it would
        serve a request that may not have it.
        """
        if self._named is None:
            return aiohttp.TCPConnector()
        return aiohttp.TCPConnector(
            resolver=_Resolver(), use_dns_cache=False, force_close=True, socket_factory=_socket_towards
        )


ANYWHERE = Reach(None)
"""For a machine that whoever names the registry has to itself."""


class _Resolver(AbstractResolver):
    """The machine's resolver, of whose answers those are dropped that the request under way may not reach."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises NotAllowedError where it has none that may be asked."""
        request = _REQUEST.get(None) or _Request(Allowed())
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if request.allowed.admits(host, port, each["host"])]
        if not kept:
            raise NotAllowedError(host)
        request.found.update({(each["host"], each["port"]): request.allowed.names(host, port) for each in kept})
        return kept

    async def close(self) -> None:
        await self._inner.close()


def _socket_towards(towards: tuple[Any, ...]) -> socket.socket:
    """The socket of a connection, which is about to be made to an address and a port. Raises NotAllowedError."""
    family, kind, protocol, _, (address, port, *_) = towards
    request = _REQUEST.get(None) or _Request(Allowed())
    named = request.found.get((address, port))
    if named is None:
        named = request.allowed.names(address, port)
        if not request.allowed.admits(address, port, address):
            raise NotAllowedError(address)
    if not named and _is_own(family, address):
        raise NotAllowedError(address)
    return socket.socket(family, kind, protocol)


def _is_own(family: int, address: str) -> bool:
    """Whether this machine has the address: only then would it speak to it from there. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False
        return probe.getsockname()[0] == address
