"""Services and endpoints."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Part, Wire
from controller.objects.schema.meta import Condition, ObjectMeta
from controller.objects.schema.references import ObjectReference


class Service(Part, frozen=True, kw_only=True):
    """A service: a name and an address for pods that a selector finds."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ServiceSpec | None, Wire(2)] = None
    status: Annotated[ServiceStatus | None, Wire(3)] = None


class ServiceSpec(Part, frozen=True, kw_only=True):
    ports: Annotated[list[ServicePort] | None, Wire(1, keys=("port", "protocol"))] = None
    selector: Annotated[dict[str, str] | None, Wire(2, atomic=True)] = None
    clusterIP: Annotated[str | None, Wire(3)] = None
    clusterIPs: Annotated[list[str] | None, Wire(18)] = None
    type: Annotated[str | None, Wire(4)] = None
    externalIPs: Annotated[list[str] | None, Wire(5)] = None
    sessionAffinity: Annotated[str | None, Wire(7)] = None
    loadBalancerIP: Annotated[str | None, Wire(8)] = None
    loadBalancerSourceRanges: Annotated[list[str] | None, Wire(9)] = None
    externalName: Annotated[str | None, Wire(10)] = None
    externalTrafficPolicy: Annotated[str | None, Wire(11)] = None
    healthCheckNodePort: Annotated[int | None, Wire(12)] = None
    publishNotReadyAddresses: Annotated[bool | None, Wire(13)] = None
    sessionAffinityConfig: Annotated[SessionAffinityConfig | None, Wire(14)] = None
    ipFamilies: Annotated[list[str] | None, Wire(19)] = None
    ipFamilyPolicy: Annotated[str | None, Wire(17)] = None
    allocateLoadBalancerNodePorts: Annotated[bool | None, Wire(20, zero_counts=True)] = None
    loadBalancerClass: Annotated[str | None, Wire(21)] = None
    internalTrafficPolicy: Annotated[str | None, Wire(22)] = None
    trafficDistribution: Annotated[str | None, Wire(23)] = None


class ServicePort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    protocol: Annotated[str | None, Wire(2)] = None
    appProtocol: Annotated[str | None, Wire(6)] = None
    port: Annotated[int | None, Wire(3, required=True)] = None
    targetPort: Annotated[IntOrString | None, Wire(4)] = None
    nodePort: Annotated[int | None, Wire(5)] = None


class SessionAffinityConfig(Part, frozen=True, kw_only=True):
    clientIP: Annotated[ClientIPConfig | None, Wire(1)] = None


class ClientIPConfig(Part, frozen=True, kw_only=True):
    timeoutSeconds: Annotated[int | None, Wire(1, zero_counts=True)] = None


class ServiceStatus(Part, frozen=True, kw_only=True):
    loadBalancer: Annotated[LoadBalancerStatus | None, Wire(1)] = None
    conditions: Annotated[list[Condition] | None, Wire(2, keys=("type",))] = None


class LoadBalancerStatus(Part, frozen=True, kw_only=True):
    ingress: Annotated[list[LoadBalancerIngress] | None, Wire(1)] = None


class LoadBalancerIngress(Part, frozen=True, kw_only=True):
    ip: Annotated[str | None, Wire(1)] = None
    hostname: Annotated[str | None, Wire(2)] = None
    ipMode: Annotated[str | None, Wire(3)] = None
    ports: Annotated[list[PortStatus] | None, Wire(4)] = None


class PortStatus(Part, frozen=True, kw_only=True):
    port: Annotated[int | None, Wire(1, required=True)] = None
    protocol: Annotated[str | None, Wire(2, required=True)] = None
    error: Annotated[str | None, Wire(3)] = None


class Endpoints(Part, frozen=True, kw_only=True):
    """Endpoints: the addresses behind a service."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subsets: Annotated[list[EndpointSubset] | None, Wire(2)] = None


class EndpointSubset(Part, frozen=True, kw_only=True):
    addresses: Annotated[list[EndpointAddress] | None, Wire(1)] = None
    notReadyAddresses: Annotated[list[EndpointAddress] | None, Wire(2)] = None
    ports: Annotated[list[EndpointPort] | None, Wire(3)] = None


class EndpointAddress(Part, frozen=True, kw_only=True):
    ip: Annotated[str | None, Wire(1, required=True)] = None
    hostname: Annotated[str | None, Wire(3)] = None
    nodeName: Annotated[str | None, Wire(4)] = None
    targetRef: Annotated[ObjectReference | None, Wire(2)] = None


class EndpointPort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    port: Annotated[int | None, Wire(2, required=True)] = None
    protocol: Annotated[str | None, Wire(3)] = None
    appProtocol: Annotated[str | None, Wire(4)] = None
