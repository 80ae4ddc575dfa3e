"""The hostname of a pod and its /etc/hosts, as a kubelet makes both. Pure."""

from __future__ import annotations

from controller.objects.schema.pods import Pod, PodSpec
from controller.pods.run import PodRun

# What the kernel takes for a host name (sethostname(2) on Linux).
LONGEST = 64


def host_name(pod: Pod, domain: str = "") -> str:
    """What the pod calls itself; with setHostnameAsFQDN its full name, where that has at most 64 characters."""
    full = full_name(pod, domain) if pod.spec.setHostnameAsFQDN else ""
    return full if 0 < len(full) <= LONGEST else _short(pod)


def full_name(pod: Pod, domain: str) -> str:
    """The name that Services give a pod with a subdomain; "" for one without, or where `domain` is ""."""
    subdomain = pod.spec.subdomain
    return f"{_short(pod)}.{subdomain}.{pod.metadata.namespace}.svc.{domain}" if subdomain and domain else ""


def needs_file(spec: PodSpec) -> bool:
    """Whether the pod's /etc/hosts says more than its cell's own."""
    return not spec.hostNetwork and bool(spec.hostAliases or spec.subdomain)


def hosts_file(pod: Pod, run: PodRun, domain: str) -> bytes:
    """/etc/hosts of a pod with aliases or a subdomain."""
    names = "\t".join(name for name in (full_name(pod, domain), _short(pod)) if name)
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{names}" for address in run.addresses]
    for alias in pod.spec.hostAliases:
        lines.append("\t".join([alias.ip, *alias.hostnames]))
    return ("\n".join(lines) + "\n").encode()


def _short(pod: Pod) -> str:
    return pod.spec.hostname or pod.metadata.name.replace(".", "-")[:63].rstrip("-")
