"""Services and endpoints."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Part, Wire
from controller.objects.schema.meta import Condition, ObjectMeta
from controller.objects.schema.references import ObjectReference


class Service(Part, frozen=True, kw_only=True):
    """A service: a name and an address for pods that a selector finds."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ServiceSpec | None, Wire(2)] = None
    status: Annotated[ServiceStatus | None, Wire(3)] = None


class ServiceSpec(Part, frozen=True, kw_only=True):
    ports: Annotated[tuple[ServicePort, ...], Wire(1, keys=("port", "protocol"))] = ()
    selector: Annotated[dict[str, str], Wire(2, atomic=True)] = {}
    clusterIP: Annotated[str, Wire(3)] = ""
    clusterIPs: Annotated[tuple[str, ...], Wire(18)] = ()
    type: Annotated[str, Wire(4)] = ""
    externalIPs: Annotated[tuple[str, ...], Wire(5)] = ()
    sessionAffinity: Annotated[str, Wire(7)] = ""
    loadBalancerIP: Annotated[str, Wire(8)] = ""
    loadBalancerSourceRanges: Annotated[tuple[str, ...], Wire(9)] = ()
    externalName: Annotated[str, Wire(10)] = ""
    externalTrafficPolicy: Annotated[str, Wire(11)] = ""
    healthCheckNodePort: Annotated[int, Wire(12)] = 0
    publishNotReadyAddresses: Annotated[bool, Wire(13)] = False
    sessionAffinityConfig: Annotated[SessionAffinityConfig | None, Wire(14)] = None
    ipFamilies: Annotated[tuple[str, ...], Wire(19)] = ()
    ipFamilyPolicy: Annotated[str, Wire(17)] = ""
    allocateLoadBalancerNodePorts: Annotated[bool | None, Wire(20, zero_counts=True)] = None
    loadBalancerClass: Annotated[str, Wire(21)] = ""
    internalTrafficPolicy: Annotated[str, Wire(22)] = ""
    trafficDistribution: Annotated[str, Wire(23)] = ""


class ServicePort(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    protocol: Annotated[str, Wire(2)] = ""
    appProtocol: Annotated[str, Wire(6)] = ""
    port: Annotated[int, Wire(3, required=True)] = 0
    targetPort: Annotated[IntOrString | None, Wire(4)] = None
    nodePort: Annotated[int, Wire(5)] = 0


class SessionAffinityConfig(Part, frozen=True, kw_only=True):
    clientIP: Annotated[ClientIPConfig | None, Wire(1)] = None


class ClientIPConfig(Part, frozen=True, kw_only=True):
    timeoutSeconds: Annotated[int | None, Wire(1, zero_counts=True)] = None


class ServiceStatus(Part, frozen=True, kw_only=True):
    loadBalancer: Annotated[LoadBalancerStatus | None, Wire(1)] = None
    conditions: Annotated[tuple[Condition, ...], Wire(2, keys=("type",))] = ()


class LoadBalancerStatus(Part, frozen=True, kw_only=True):
    ingress: Annotated[tuple[LoadBalancerIngress, ...], Wire(1)] = ()


class LoadBalancerIngress(Part, frozen=True, kw_only=True):
    ip: Annotated[str, Wire(1)] = ""
    hostname: Annotated[str, Wire(2)] = ""
    ipMode: Annotated[str, Wire(3)] = ""
    ports: Annotated[tuple[PortStatus, ...], Wire(4)] = ()


class PortStatus(Part, frozen=True, kw_only=True):
    port: Annotated[int, Wire(1, required=True)] = 0
    protocol: Annotated[str, Wire(2, required=True)] = ""
    error: Annotated[str, Wire(3)] = ""


class Endpoints(Part, frozen=True, kw_only=True):
    """Endpoints: the addresses behind a service."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subsets: Annotated[tuple[EndpointSubset, ...], Wire(2)] = ()


class EndpointSubset(Part, frozen=True, kw_only=True):
    addresses: Annotated[tuple[EndpointAddress, ...], Wire(1)] = ()
    notReadyAddresses: Annotated[tuple[EndpointAddress, ...], Wire(2)] = ()
    ports: Annotated[tuple[EndpointPort, ...], Wire(3)] = ()


class EndpointAddress(Part, frozen=True, kw_only=True):
    ip: Annotated[str, Wire(1, required=True)] = ""
    hostname: Annotated[str, Wire(3)] = ""
    nodeName: Annotated[str, Wire(4)] = ""
    targetRef: Annotated[ObjectReference | None, Wire(2)] = None


class EndpointPort(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    port: Annotated[int, Wire(2, required=True)] = 0
    protocol: Annotated[str, Wire(3)] = ""
    appProtocol: Annotated[str, Wire(4)] = ""
