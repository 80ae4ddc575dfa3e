"""HTTP proxies: which one leads to an address, by the variables and rules that Go's programs and curl share. Pure.

Source: golang.org/x/net/http/httpproxy. This machine itself is never asked for through a proxy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from cellwire.faults import Fault, Kind

_PORTS = {"http": 80, "https": 443}


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy's address for each scheme ("" is none), and what is reached without: domains, addresses, CIDR or "*"."""

    http: str = ""
    https: str = ""
    exempt: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Proxies(…)"  # an address may hold a password

    def to(self, address: str) -> str:
        """The proxy for this address; "" where none is to be used."""
        parts = urlsplit(address)
        proxy = {"http": self.http, "https": self.https}.get(parts.scheme, "")
        host = (parts.hostname or "").rstrip(".")
        if not proxy or not host or _is_here(host):
            return ""
        port = parts.port or _PORTS[parts.scheme]
        return "" if any(_exempts(entry, host, port) for entry in self.exempt) else proxy


DIRECT = Proxies()
"""No proxy at all."""


def proxies_of(environment: Mapping[str, str]) -> Proxies:
    """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say, in either case. Raises Fault INVALID."""

    def said(name: str) -> str:
        return environment.get(name, "") or environment.get(name.lower(), "")

    return Proxies(
        http=checked(said("HTTP_PROXY"), "HTTP_PROXY"),
        https=checked(said("HTTPS_PROXY"), "HTTPS_PROXY"),
        exempt=tuple(entry.strip() for entry in said("NO_PROXY").split(",") if entry.strip()),
    )


def checked(proxy: str, setting: str) -> str:
    """A proxy's address with its scheme. Raises Fault INVALID for what cannot be one."""
    if not proxy:
        return ""
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        sound = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise Fault(
            Kind.INVALID, f"proxy {setting}", "it is no address of an HTTP proxy", "write it as http://host:port"
        )
    return address


def merged(settings: Iterable[Proxies]) -> Proxies:
    """The first of these that names any proxy."""
    return next((each for each in settings if each.http or each.https), DIRECT)


def _exempts(entry: str, host: str, port: int) -> bool:
    entry = entry.lower()
    if entry == "*":
        return True
    name, wanted = _split(entry)
    if wanted not in {0, port}:
        return False
    try:
        if "/" in name:
            return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
        return ipaddress.ip_address(host) == ipaddress.ip_address(name)
    except ValueError:
        pass
    below = name.removeprefix("*")
    if below.startswith("."):
        return host.endswith(below)
    return host == below or host.endswith(f".{below}")


def _split(entry: str) -> tuple[str, int]:
    """A name and its port, 0 where it names none."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdecimal() else 0
    name, colon, port = entry.rpartition(":")
    return (name, int(port)) if colon and port.isdecimal() and ":" not in name else (entry, 0)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
