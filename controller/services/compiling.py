"""From a Service and who answers for it to what a cell's kernel holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cellwire.cell.v1 import cell_pb2 as wire
from controller.services.model import MappedPort, ServiceEntry, Slice, SliceEndpoint


def name_of(service: ServiceEntry) -> str:
    """As cells know it."""
    return "/".join(service.key)


def held(
    service: ServiceEntry, slices: Iterable[Slice], node: str, node_addresses: Sequence[str] = ()
) -> wire.HeldService:
    """What a cell of this node holds of it. Headless and external ones have names only, and nothing in the kernel."""
    known = tuple(slices)
    if not service.addresses:
        return wire.HeldService(name=name_of(service))
    return wire.HeldService(
        name=name_of(service),
        ports=[
            wire.ServicePort(
                protocol=port.protocol,
                addresses=service.addresses,
                port=port.number,
                node_port=port.node,
                node_addresses=node_addresses if port.node else (),
                backends=[
                    wire.ServiceBackend(address=address, port=number)
                    for address, number in backends(service, port, known, node)
                ],
                affinity_seconds=service.affinity_seconds,
            )
            for port in service.ports
        ],
    )


def backends(service: ServiceEntry, port: MappedPort, slices: Iterable[Slice], node: str) -> list[tuple[str, int]]:
    """Addresses and port numbers of who answers at a port: who is ready; where nobody is, who still serves though it
    ends, as kube-proxy does.
    """
    there = [
        (endpoint, number)
        for one in slices
        if (number := one.ports.get((port.name, port.protocol))) is not None
        for endpoint in one.endpoints
        if not service.local_only or endpoint.node == node
    ]
    ready = [one for one in there if one[0].ready]
    chosen = ready or [one for one in there if one[0].serving]
    return sorted({(endpoint.address, number) for endpoint, number in chosen})


def told(service: ServiceEntry, slices: Iterable[Slice]) -> Iterator[SliceEndpoint]:
    """The endpoints that are told by the name of a headless Service."""
    return (endpoint for one in slices for endpoint in one.endpoints if endpoint.ready or service.not_ready_too)
