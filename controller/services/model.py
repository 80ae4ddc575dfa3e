"""Services and who answers for them, as Kubernetes' objects tell them. Read from untyped objects; pure.

What cannot be read of an object is left out, never a reason to lose the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast

import msgspec

from cellwire.addresses import address_of, is_address

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
AFFINITY_SECONDS = 10_800
# Length of the prefix of the largest range that a Kubernetes API server takes.
LARGEST_RANGE = {4: 12, 6: 108}
# Of the metadata services, that which is not link-local.
_METADATA = frozenset({IPv6Address("fd00:ec2::254")})
SERVICE_LABEL = "kubernetes.io/service-name"


class MappedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A Service's port: `name` "" is "the only one". `target` is a number or a port's name in the pod."""

    name: str = ""
    protocol: str = "tcp"
    number: int
    target: int | str = 0
    node: int = 0


class ServiceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A Service. `addresses` are where it is dialled; none is headless. `cluster` are those of the cluster alone."""

    key: Key
    cluster: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[MappedPort, ...] = ()
    affinity_seconds: int = 0
    external_name: str = ""
    local_only: bool = False
    not_ready_too: bool = False
    selector: dict[str, str] = {}


class SliceEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `ready` takes new connections; `serving` still can, though it ends."""

    address: str
    ready: bool = True
    serving: bool = True
    node: str = ""
    hostname: str = ""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Some of those who answer for a Service, and at which port numbers: (name, protocol) → number."""

    key: Key
    service: Key
    ports: dict[tuple[str, str], int] = {}
    endpoints: tuple[SliceEndpoint, ...] = ()


def service_of(found: Json) -> ServiceEntry:
    """A Service object."""
    spec = _dict(found.get("spec"))
    key = key_of(found)
    cluster = tuple(str(one) for one in _list(spec.get("clusterIPs")) or [spec.get("clusterIP")] if is_address(one))
    if spec.get("type") == "ExternalName":
        return ServiceEntry(key=key, external_name=str(spec.get("externalName") or "").lower().rstrip("."))
    ingress = _list(_dict(_dict(found.get("status")).get("loadBalancer")).get("ingress"))
    balanced = [_dict(one).get("ip") for one in ingress if _dict(one).get("ipMode", "VIP") == "VIP"]
    outside = [str(one) for one in (*_list(spec.get("externalIPs")), *balanced) if is_address(one)]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = _dict(_dict(spec.get("sessionAffinityConfig")).get("clientIP")).get("timeoutSeconds")
        affinity = seconds if isinstance(seconds, int) and 0 < seconds <= 86_400 else AFFINITY_SECONDS
    return ServiceEntry(
        key=key,
        cluster=cluster,
        addresses=tuple(dict.fromkeys((*cluster, *outside))) if cluster else (),
        ports=tuple(port for one in _list(spec.get("ports")) if (port := _port(_dict(one)))),
        affinity_seconds=affinity,
        local_only=spec.get("internalTrafficPolicy") == "Local",
        not_ready_too=spec.get("publishNotReadyAddresses") is True,
        selector={str(name): str(text) for name, text in _dict(spec.get("selector")).items()},
    )


def inside(service: ServiceEntry) -> ServiceEntry:
    """The Service by its cluster IP alone, as whoever may declare one in a namespace gets it. A cell of another
    namespace holds it too once its pod has asked for the name: external addresses or node ports would take its traffic.
    """
    ports = tuple(msgspec.structs.replace(one, node=0) for one in service.ports)
    return msgspec.structs.replace(service, addresses=service.cluster, ports=ports)


def slice_of(found: Json) -> Slice:
    """An EndpointSlice object."""
    namespace, _ = key = key_of(found)
    labels = _dict(_dict(found.get("metadata")).get("labels"))
    ports: dict[tuple[str, str], int] = {}
    for one in map(_dict, _list(found.get("ports"))):
        protocol, number = PROTOCOLS.get(str(one.get("protocol") or "TCP")), one.get("port")
        if protocol and isinstance(number, int) and 0 < number < 65536:
            ports[str(one.get("name") or ""), protocol] = number
    endpoints: list[SliceEndpoint] = []
    if found.get("addressType") in ("IPv4", "IPv6"):
        for one in map(_dict, _list(found.get("endpoints"))):
            conditions = _dict(one.get("conditions"))
            ready = conditions.get("ready") is not False
            serving = conditions.get("serving") is not False and (ready or conditions.get("serving") is True)
            endpoints += [
                SliceEndpoint(
                    address=str(address),
                    ready=ready,
                    serving=serving,
                    node=str(one.get("nodeName") or ""),
                    hostname=str(one.get("hostname") or ""),
                )
                for address in _list(one.get("addresses"))[:1]
                if _dialled(address)
            ]
    return Slice(
        key=key,
        service=(namespace, str(labels.get(SERVICE_LABEL) or "")),
        ports=ports,
        endpoints=tuple(endpoints),
    )


def key_of(found: Json) -> Key:
    """Namespace and name of an object."""
    metadata = _dict(found.get("metadata"))
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def addresses_of_node(found: Json) -> tuple[str, ...]:
    """Where a node, as the API server has it, is dialled; each once."""
    entries = map(_dict, _list(_dict(found.get("status")).get("addresses")))
    addresses = (one.get("address") for one in entries if one.get("type") in {"InternalIP", "ExternalIP"})
    return tuple(dict.fromkeys(str(one) for one in addresses if _dialled(one)))


def networks(addresses: Iterable[str]) -> tuple[str, ...]:
    """What can be said of the ranges from which a cluster has given these addresses: the smallest networks that have
    them all, each within what a range may be at most. They are parts of the ranges, so nothing else lies in them.
    """
    found: list[IPv4Network | IPv6Network] = []
    for one in sorted({ip_address(each) for each in addresses}, key=lambda one: (one.version, int(one))):
        shortest = LARGEST_RANGE[one.version]
        joined = found[-1] if found and found[-1].version == one.version else None
        while joined is not None and one not in joined and joined.prefixlen > shortest:
            joined = joined.supernet()
        if joined is not None and one in joined:
            found[-1] = joined
        else:
            found.append(ip_network(one))
    return tuple(map(str, found))


def _port(one: Json) -> MappedPort | None:
    protocol, number, node = PROTOCOLS.get(str(one.get("protocol") or "TCP")), one.get("port"), one.get("nodePort")
    if not protocol or not isinstance(number, int) or not 0 < number < 65536:
        return None
    target = one.get("targetPort")
    return MappedPort(
        name=str(one.get("name") or ""),
        protocol=protocol,
        number=number,
        target=target if isinstance(target, (int, str)) and target else number,
        node=node if isinstance(node, int) and 0 < node < 65536 else 0,
    )


def _dialled(value: object) -> bool:
    """Whether a connection may be led there. Nobody's endpoint is the loopback, or a cloud's metadata service."""
    if not is_address(value):
        return False
    address = address_of(value)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return not (
        address in _METADATA
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


def _dict(value: object) -> Json:
    return cast("Json", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
