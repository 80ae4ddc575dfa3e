"""How a pod finds names, as a kubelet has it: its policy, and what it says beside that. Pure."""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.objects.fields import Json

# Where the agent of each cell answers its pod, see cellagent/network/forwarder.py.
FORWARDER = "169.254.1.1"
# As a kubelet: names with fewer dots than this are looked for in the search path first.
DOTS = "ndots:5"


def config(spec: Json, namespace: str, domain: str) -> cri.DNSConfig | None:
    """The pod's resolver; None where it has that of its cell. `domain` is that of Services' names, "" for none."""
    own: Json = spec.get("dnsConfig") or {}
    options = [f"{one['name']}:{one['value']}" if one.get("value") else one["name"] for one in own.get("options") or ()]
    servers: list[str] = list(own.get("nameservers") or ())
    searches: list[str] = list(own.get("searches") or ())
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "None":
        return cri.DNSConfig(servers=servers, searches=searches, options=options)
    if policy != "ClusterFirst" or spec.get("hostNetwork") or not domain:
        return None
    usual = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
    # The pod's own options win over the usual ones of the same name.
    chosen = {one.partition(":")[0]: one for one in (DOTS, *options)}
    return cri.DNSConfig(
        servers=dict.fromkeys((FORWARDER, *servers)),
        searches=dict.fromkeys((*usual, *searches)),
        options=chosen.values(),
    )
