"""The pod's network: one virtual cable from the pod's namespace to the cell, or to a bridge of a lone agent.

In a cell the pod has the cell's second address: a /32 route leads to the cable, and the cell answers for the address on
its uplink (a cloud needs no answer, a bridge does). A rule before the local table keeps the pod from the metadata
service. Names derive from the sandbox, so that what a killed agent left is found and removed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from cellagent.kernel import processes
from cellwire.faults import Fault, Kind

GATEWAY = "169.254.1.1"
METADATA = "169.254.169.254"
BRIDGE = "chinampa-pods"
BRIDGE_SUBNET = "10.88.0.0/16"
# Rules are asked in order of preference; the local table's own must come after ours.
BLOCK_PREFERENCE = 10
LOCAL_PREFERENCE = 50


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox's network is made from.

    `mode` is "host", "cell" or "bridge". `address` is the pod's own in a cell ("10.0.0.7" or with "/32"); `folder`
    keeps the leases of the bridge. `metadata` lets the pod reach the cloud's metadata service.
    """

    sandbox: str
    mode: str
    namespace: Path
    address: str = ""
    folder: Path = Path("/run/chinampa/network")
    uplink: str = "eth0"
    metadata: bool = False
    subnet: str = BRIDGE_SUBNET
    bridge: str = BRIDGE


class NetworkStatus(msgspec.Struct, frozen=True):
    """The pod's addresses, the first one its main one."""

    addresses: tuple[str, ...]


def cable(sandbox: str) -> str:
    """The name of the cell's end of a sandbox's cable: at most 15 letters."""
    return "pod" + hashlib.sha256(sandbox.encode()).hexdigest()[:10]


async def attach(network: PodNetwork) -> NetworkStatus:
    """Connect the pod. What a killed agent left of the same sandbox is replaced. Raises Fault."""
    match network.mode:
        case "host":
            return NetworkStatus(await own_addresses())
        case "cell":
            return await _attach_cell(network)
        case "bridge":
            return await _attach_bridge(network)
        case _:
            raise Fault(Kind.INVALID, f"network mode {network.mode}", "there is no such mode")


async def detach(network: PodNetwork) -> None:
    """Take the pod's network away. Idempotent."""
    if network.mode == "host":
        return
    name = cable(network.sandbox)
    commands = [f"link del {name}", f"rule del pref {BLOCK_PREFERENCE} iif {name}"]
    await processes.run(["ip", "-force", "-batch", "-"], stdin="\n".join(commands).encode(), deadline=20)
    if network.mode == "bridge":
        with suppress(FileNotFoundError):
            (network.folder / network.sandbox).unlink()


async def own_addresses() -> tuple[str, ...]:
    """This machine's own addresses, for pods that share its network."""
    listed = json.loads(await processes.check(["ip", "-json", "address", "show", "scope", "global"]) or b"[]")
    found = [info["local"] for link in listed for info in link.get("addr_info", ()) if link.get("operstate") != "DOWN"]
    return tuple(found[:1])


async def _attach_cell(network: PodNetwork) -> NetworkStatus:
    address = network.address.partition("/")[0]
    name = cable(network.sandbox)
    await detach(network)
    cell = [
        f"link add name {name} type veth peer name eth0 netns {network.namespace}",
        f"address add {GATEWAY}/32 dev {name}",
        f"link set {name} up",
        f"route replace {address}/32 dev {name}",
    ]
    await _batch(cell)
    if not network.metadata:
        await _block_metadata(name)
    _sysctl("net/ipv4/ip_forward", "1")
    _sysctl(f"net/ipv4/conf/{name}/proxy_arp", "1")
    _sysctl(f"net/ipv4/conf/{network.uplink}/proxy_arp", "1")
    pod = [
        "link set lo up",
        f"address add {address}/32 dev eth0",
        "link set eth0 up",
        f"route add {GATEWAY} dev eth0 scope link",
        f"route add default via {GATEWAY} dev eth0 src {address}",
    ]
    await _batch(pod, network.namespace)
    return NetworkStatus((address,))


async def _block_metadata(name: str) -> None:
    rules = json.loads(await processes.check(["ip", "-json", "rule", "show"]))
    commands = [f"rule add pref {BLOCK_PREFERENCE} iif {name} to {METADATA} prohibit"]
    if any(rule["priority"] == 0 and rule.get("table") == "local" for rule in rules):
        commands = [f"rule add pref {LOCAL_PREFERENCE} from all lookup local", "rule del pref 0", *commands]
    await _batch(commands)


async def _attach_bridge(network: PodNetwork) -> NetworkStatus:
    subnet = ipaddress.ip_network(network.subnet)
    gateway = subnet.network_address + 1
    name = cable(network.sandbox)
    await detach(network)
    address = _lease(network, subnet)
    there = Path("/sys/class/net", network.bridge).exists()
    bridge = [] if there else [
        f"link add name {network.bridge} type bridge",
        f"address add {gateway}/{subnet.prefixlen} dev {network.bridge}",
        f"link set {network.bridge} up",
    ]  # fmt: skip
    try:
        await _batch(bridge)
    except Fault:
        # Two sandboxes at once made it; it is enough that it is there.
        if not Path("/sys/class/net", network.bridge).exists():
            raise
    cell = [
        f"link add name {name} type veth peer name eth0 netns {network.namespace}",
        f"link set {name} master {network.bridge} up",
    ]
    await _batch(cell)
    pod = [
        "link set lo up",
        f"address add {address}/{subnet.prefixlen} dev eth0",
        "link set eth0 up",
        f"route add default via {gateway}",
    ]
    await _batch(pod, network.namespace)
    return NetworkStatus((str(address),))


def _leases(network: PodNetwork) -> dict[str, str]:
    network.folder.mkdir(parents=True, exist_ok=True)
    return {path.name: path.read_text() for path in network.folder.iterdir() if path.is_file()}


def _lease(network: PodNetwork, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    taken = set(_leases(network).values())
    for host in subnet.hosts():
        if str(host) not in taken and host != subnet.network_address + 1:
            (network.folder / network.sandbox).write_text(str(host))
            return str(host)
    raise Fault(Kind.NO_CAPACITY, f"pod network {subnet}", "all its addresses are taken", "remove pods that have ended")


async def _batch(commands: Sequence[str], namespace: Path | None = None) -> None:
    if not commands:
        return
    enter = ["nsenter", f"--net={namespace}"] if namespace else []
    await processes.check([*enter, "ip", "-batch", "-"], stdin="\n".join(commands).encode())


def _sysctl(name: str, text: str) -> None:
    try:
        (Path("/proc/sys") / name).write_text(text)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"sysctl {name}", str(error.strerror), "the agent must run as root") from error
