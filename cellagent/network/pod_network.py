"""The pod's network, in one of four modes; names derive from the sandbox, so that what a killed agent left is found.

"cell": the pod has the cell's second address. "bridge": a lone agent's own bridge. "cni": the plugins that the machine
is configured with. "host": the machine's own network.
"""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from cellagent.network import bridge, cell_network, cni, links, ports
from cellagent.network.guard import Guard
from cellagent.network.ports import PortMapping
from cellwire.faults import Fault, Kind

__all__ = [
    "NetworkMode",
    "NetworkStatus",
    "PodNetwork",
    "PortMapping",
    "attach",
    "check",
    "detach",
    "lone_mode",
    "restore",
    "retire",
    "trouble",
]

BRIDGE = "chinampa-pods"
BRIDGE_SUBNET = "10.88.0.0/16"
BRIDGE_SUBNET6 = "fd6b:8a2c:0:88::/64"
METADATA = cell_network.METADATA


class NetworkMode(enum.StrEnum):
    """Mode of a pod's network: the machine's own, the cell's addresses, our bridge, or CNI plugins."""

    HOST = "host"
    CELL = "cell"
    BRIDGE = "bridge"
    CNI = "cni"


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs of a sandbox's network.

    `address` is the pod's own in a cell ("10.0.0.7" or with "/32"), and `address6` that of IPv6, if it has one;
    `folder` keeps the leases of the bridge, and `cache`, which outlives a reboot, what plugins answered. `uplink` empty
    is "that of the default route". `metadata` lets the pod reach the cloud's metadata service. `vpc` are the networks
    in which a cell's pod is known by its address; beyond them it goes by the cell's, and so is a `public` pod reached.
    `ports` are host ports (`ports.wanted` reads CRI's). `pod` is (namespace, name, uid), which plugins are told.
    """

    sandbox: str
    mode: NetworkMode
    namespace: Path
    address: str = ""
    address6: str = ""
    folder: Path = Path("/run/chinampa/network")
    cache: Path = Path("/var/lib/chinampa/network")
    uplink: str = ""
    metadata: bool = False
    vpc: tuple[str, ...] = ()
    public: bool = False
    subnet: str = BRIDGE_SUBNET
    subnet6: str = BRIDGE_SUBNET6
    bridge: str = BRIDGE
    ports: tuple[PortMapping, ...] = ()
    pod: tuple[str, str, str] = ("", "", "")
    plugins: cni.Plugins = cni.Plugins()


class NetworkStatus(msgspec.Struct, frozen=True):
    """The pod's addresses, the first one its main one. None where the pod uses the machine of a lone agent."""

    addresses: tuple[str, ...]


def lone_mode(plugins: cni.Plugins) -> NetworkMode:
    """The mode of an agent that is in no cell: plugins where a configuration of theirs is present, else the bridge."""
    return NetworkMode.CNI if cni.configuration_file(plugins) else NetworkMode.BRIDGE


def trouble(plugins: cni.Plugins) -> str:
    """Why a lone agent cannot connect pods; "" where it can."""
    if lone_mode(plugins) is NetworkMode.BRIDGE:
        return ""
    try:
        cni.configured(plugins)
    except (Fault, OSError) as error:
        return str(error)
    return ""


async def attach(network: PodNetwork) -> NetworkStatus:
    """Connect the pod. What a killed agent left of the same sandbox is replaced. Raises Fault."""
    if network.mode is NetworkMode.HOST:
        if network.address:
            await cell_network.share(_guard(network), network.sandbox)
        # A kubelet knows its own machine's addresses, and which of them it goes by; of a cell it knows none.
        return NetworkStatus(await links.own_addresses() if network.address else ())
    await detach(network)
    match network.mode:
        case NetworkMode.CELL:
            addresses = await cell_network.attach(_guard(network), network.sandbox, network.namespace)
        case NetworkMode.BRIDGE:
            addresses = await bridge.attach(_bridge(network), network.sandbox, network.namespace)
        case NetworkMode.CNI:
            return NetworkStatus(await cni.attach(_call(network)))
    if network.ports:
        link = network.bridge if network.mode is NetworkMode.BRIDGE else links.cable(network.sandbox)
        if network.mode is NetworkMode.CELL:
            links.setting(f"net/ipv4/conf/{link}/route_localnet", "1")
        numbers = " ".join(str(port.host) for port in network.ports)
        text = ports.rules(links.cable(network.sandbox), link, addresses, network.ports)
        await bridge.filters(text, needed=f"host ports {numbers}")
    return NetworkStatus(addresses)


async def check(network: PodNetwork) -> None:
    """Whether the network is still as it was made. Raises Fault saying what is not."""
    if network.mode is NetworkMode.CNI:
        await cni.check(_call(network))
    elif network.mode is not NetworkMode.HOST and not links.number(links.cable(network.sandbox)):
        raise Fault(
            Kind.BROKEN, f"network of sandbox {network.sandbox[:13]}", "its cable is gone", "start the pod anew"
        )


async def restore(network: PodNetwork) -> tuple[str, ...]:
    """Put right what others have taken from the network of a cell's pod; a few words for each thing. Raises Fault."""
    if network.mode not in {"cell", "host"} or not network.address:
        return ()
    return await cell_network.restore(_guard(network), network.sandbox)


async def detach(network: PodNetwork) -> None:
    """Take the pod's network away. Idempotent."""
    match network.mode:
        case "cell":
            await cell_network.detach(network.sandbox, (network.address, network.address6), network.uplink)
        case "bridge":
            await bridge.detach(_bridge(network), network.sandbox)
        case "cni":
            await cni.detach(_call(network))
        case "host" if network.address:
            await cell_network.unshare(network.sandbox)
            return
        case _:
            return
    if network.ports and network.mode is not NetworkMode.CNI:
        await bridge.filters(ports.removal(links.cable(network.sandbox)))


async def retire(name: str, folder: Path) -> None:
    """Take away the bridge of a lone agent's pods, unless it has pods or is not there. Raises Fault."""
    await bridge.retire(name, folder / "leases")


async def own_addresses() -> tuple[str, ...]:
    """This machine's own addresses, for pods that share its network."""
    return await links.own_addresses()


def _guard(network: PodNetwork) -> Guard:
    return Guard(
        table="",
        address=network.address if network.mode is NetworkMode.CELL else "",
        address6=network.address6 if network.mode is NetworkMode.CELL else "",
        uplink=network.uplink,
        vpc=network.vpc,
        metadata=network.metadata,
        public=network.public,
    )


def _bridge(network: PodNetwork) -> bridge.Bridge:
    return bridge.Bridge(
        name=network.bridge, subnet=network.subnet, subnet6=network.subnet6, folder=network.folder / "leases"
    )


def _call(network: PodNetwork) -> cni.Call:
    return cni.Call(
        sandbox=network.sandbox,
        namespace=network.namespace,
        pod=network.pod,
        ports=network.ports,
        plugins=network.plugins,
        cache=network.cache,
    )
