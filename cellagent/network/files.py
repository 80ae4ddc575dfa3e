"""The files in /etc by which a pod knows itself and its name servers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cellwire.cri.v1 import runtime_pb2 as cri


def hosts(hostname: str, addresses: Sequence[str]) -> str:
    """/etc/hosts of a pod whose kubelet brings none."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{hostname}" for address in addresses]
    return "\n".join(lines) + "\n"


def resolv_conf(dns: cri.DNSConfig, own: str) -> str:
    """/etc/resolv.conf as the pod asks; `own` is this machine's, for a pod that says nothing."""
    if not (dns.servers or dns.searches or dns.options):
        return own
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "\n".join(lines) + "\n"
