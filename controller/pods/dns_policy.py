"""How a pod finds names, as a kubelet has it: its policy, and what it says beside that. Pure."""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.objects.schema.pods import PodDNSConfig, PodSpec

# Where the agent of each cell answers its pod, see cellagent/network/forwarder.py.
FORWARDER = "169.254.1.1"
# As a kubelet: names with fewer dots than this are looked for in the search path first.
DOTS = "ndots:5"


def config(spec: PodSpec, namespace: str, domain: str) -> cri.DNSConfig | None:
    """The pod's resolver; None where it has that of its cell. `domain` is that of Services' names, "" for none."""
    own = spec.dnsConfig or PodDNSConfig()
    options = [f"{one.name}:{one.value}" if one.value else one.name for one in own.options]
    policy = spec.dnsPolicy or "ClusterFirst"
    if policy == "None":
        return cri.DNSConfig(servers=own.nameservers, searches=own.searches, options=options)
    if policy != "ClusterFirst" or spec.hostNetwork or not domain:
        return None
    usual = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
    # The pod's own options win over the usual ones of the same name.
    chosen = {one.partition(":")[0]: one for one in (DOTS, *options)}
    return cri.DNSConfig(
        servers=dict.fromkeys((FORWARDER, *own.nameservers)),
        searches=dict.fromkeys((*usual, *own.searches)),
        options=chosen.values(),
    )
