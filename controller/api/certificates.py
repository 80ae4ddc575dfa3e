"""The names by which the API is reached, and the certificate that holds all of them.

Made anew at each start, before it ends, and when this machine has other addresses than it had.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from pathlib import Path

import structlog

from cellwire.faults import Fault
from controller.api.settings import ApiSettings

log = structlog.get_logger()
LOOK = 60.0
# As pods and clients in a cluster call an API server.
EVERYWHERE = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to tell them apart
_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


def names(settings: ApiSettings, own: tuple[str, ...]) -> tuple[str, ...]:
    """All names and addresses by which the API may be dialled; `own` are those of this machine. Pure."""
    listens_on_all = settings.host in WILDCARDS
    found = [*settings.names, *(own if listens_on_all else (settings.host,)), settings.pods_address, *EVERYWHERE]
    return tuple(dict.fromkeys(name for name in found if name))


def dialled(settings: ApiSettings) -> str:
    """The name that the kubeconfig says: the first of the settings, else the address that is listened on. Pure."""
    if settings.names:
        return settings.names[0]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - what to dial there


def own_names(ipv4: str, ipv6: str, host: str) -> tuple[str, ...]:
    """What this machine is called, from /proc/net/fib_trie, /proc/net/if_inet6 and its host name. Pure."""
    fourth = set(_LOCAL.findall(ipv4))
    sixth = {str(ipaddress.ip_address(int(line.split()[0], 16))) for line in ipv6.splitlines() if line}
    return (host, *sorted(fourth | sixth))


class Certified:
    """A server's TLS, whose certificate follows its names."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._names: tuple[str, ...] = ()
        self._made_at = 0.0

    def renew(self) -> None:
        """A new certificate where one is due; connections to come are shown it. Raises Fault where a name is none."""
        wanted, now = names(self._settings, _own()), time.monotonic()
        if wanted == self._names and now - self._made_at < self._settings.renew_after:
            return
        certificate, key = self._settings.certify(wanted)
        self.context.load_cert_chain(certificate, key)
        self._names, self._made_at = wanted, now
        log.info("the pods API has a certificate", names=wanted)

    @property
    def holds(self) -> bool:
        """Whether who is shown it now can trust it: it is renewed at two thirds of its life."""
        return time.monotonic() - self._made_at < 1.5 * self._settings.renew_after

    async def keep(self) -> None:
        """Renew it for ever."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                await asyncio.to_thread(self.renew)
            except (Fault, OSError) as error:
                log.warning("the pods API's certificate is not renewed; it is tried again", cause=str(error))


def _own() -> tuple[str, ...]:
    return own_names(_text("fib_trie"), _text("if_inet6"), socket.gethostname())


def _text(name: str) -> str:
    path = Path("/proc/net") / name
    return path.read_text() if path.exists() else ""
