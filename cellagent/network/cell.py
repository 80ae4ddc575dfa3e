"""The network of a pod in a cell: the pod has the cell's second address.

A /32 route leads to the pod's cable, and the cell answers for the address on its uplink (a cloud needs no answer, a
bridge does). A rule before the local table keeps the pod from the metadata service, of either family.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from cellagent.network import links
from cellwire.faults import Fault, Kind

GATEWAY = "169.254.1.1"
METADATA = "169.254.169.254"
METADATA6 = "fd00:ec2::254"
# Rules are asked in order of preference; the local table's own must come after ours.
BLOCK_PREFERENCE = 10
LOCAL_PREFERENCE = 50
_IPV6 = Path("/proc/net/if_inet6")


async def attach(sandbox: str, namespace: Path, address: str, uplink: str, *, metadata: bool) -> tuple[str, ...]:
    """Connect the pod. Raises Fault."""
    address, name = _plain(address), links.cable(sandbox)
    uplink = uplink or await links.uplink()
    for link in await links.show("address", "show", "to", f"{address}/32"):
        # A machine image may have given the address to the cell itself, which would then keep the pod's packets.
        for info in filter(None, link.get("addr_info", ())):
            await links.batch([f"address del {address}/{info['prefixlen']} dev {link['ifname']}"])
    mtu = links.mtu(uplink)
    if not metadata and _IPV6.exists():
        # The pod has no IPv6 address of the cell's; this is for one that may make itself a way.
        await links.batch([f"rule add pref {BLOCK_PREFERENCE} iif {name} to {METADATA6} prohibit"], family="-6")
    await links.batch([
        f"link add name {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}",
        f"address add {GATEWAY}/32 dev {name}",
        *([] if metadata else await _block(name)),
        f"link set {name} up",
        f"route replace {address}/32 dev {name}",
        f"neigh replace proxy {address} dev {uplink}",
    ])  # fmt: skip
    links.setting("net/ipv4/ip_forward", "1")
    # Else the kernel waits for up to 0.8 s before it answers for the pod.
    links.setting(f"net/ipv4/neigh/{uplink}/proxy_delay", "0")
    await links.batch([
        "link set lo up",
        f"address add {address}/32 dev eth0",
        "link set eth0 up",
        f"route add {GATEWAY} dev eth0 scope link",
        f"route add default via {GATEWAY} dev eth0 src {address}",
    ], namespace)  # fmt: skip
    return (address,)


async def detach(sandbox: str, address: str, uplink: str) -> None:
    """Take all of it away; what is not there is no error."""
    name = links.cable(sandbox)
    commands = [f"link del {name}", f"rule del pref {BLOCK_PREFERENCE} iif {name}"]
    try:
        commands.append(f"neigh del proxy {_plain(address)} dev {uplink or await links.uplink()}")
    except Fault:
        # Without an uplink or an address nobody answers for it either.
        pass
    await links.attempt(commands)
    if _IPV6.exists():
        await links.attempt([f"rule del pref {BLOCK_PREFERENCE} iif {name}"], family="-6")


async def _block(name: str) -> list[str]:
    rules = {(rule["priority"], rule.get("table")) for rule in await links.show("rule", "show")}
    moved = [] if (LOCAL_PREFERENCE, "local") in rules else [f"rule add pref {LOCAL_PREFERENCE} from all lookup local"]
    # The local table is never without a rule: the new one comes first.
    if (0, "local") in rules:
        moved.append("rule del pref 0")
    return [*moved, f"rule add pref {BLOCK_PREFERENCE} iif {name} to {METADATA} prohibit"]


def _plain(address: str) -> str:
    try:
        return str(IPv4Address(address.partition("/")[0]))
    except AddressValueError as error:
        raise Fault(Kind.INVALID, f"pod address {address!r}", "it is no IPv4 address") from error
