"""The files in /etc by which a pod knows itself and its name servers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from cellagent.network.cell_network import GATEWAY
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind


def check(hostname: str, dns: cri.DNSConfig) -> None:
    """Raise Fault INVALID for what would be more than one word, or one line, of these files."""
    words = [("hostname", hostname), *(("name server", each) for each in dns.servers)]
    words += [("search domain", each) for each in dns.searches]
    for what, word in words:
        if not word.isprintable() or " " in word:
            raise Fault(Kind.INVALID, f"{what} {word[:100]!r}", "it has blanks or signs that no name has")
    for option in dns.options:
        if not option.isprintable():
            raise Fault(Kind.INVALID, f"DNS option {option[:100]!r}", "it has signs that no line has")


def hostname(config: cri.PodSandboxConfig) -> str:
    """The name of a pod that has a network of its own."""
    return config.hostname or config.metadata.name[:63]


def hosts(hostname: str, addresses: Sequence[str]) -> str:
    """/etc/hosts of a pod whose kubelet brings none."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{hostname}" for address in addresses]
    return "\n".join(lines) + "\n"


def reachable(present: Sequence[str]) -> str:
    """Of a machine's resolv.confs the first whose servers a pod reaches, as none on the loopback; else the first."""
    for text in present:
        servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver ")]
        if servers and not all(_on_loopback(server) for server in servers):
            return text
    return present[0] if present else ""


def resolv_conf(dns: cri.DNSConfig, own: str) -> str:
    """/etc/resolv.conf as the pod asks; `own` is this machine's, for a pod that says nothing. Whoever asks this cell's
    forwarder also searches where the cell does, as a kubelet has it.
    """
    if not (dns.servers or dns.searches or dns.options):
        return own
    searches = [*dns.searches, *(_searches(own) if GATEWAY in dns.servers else ())]
    lines = [f"search {' '.join(dict.fromkeys(searches))}"] if searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "\n".join(lines) + "\n"


def _searches(text: str) -> list[str]:
    found = [line.split()[1:] for line in text.splitlines() if line.startswith(("search ", "domain "))]
    return [name for name in found[-1] if name != "."] if found else []


def _on_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
