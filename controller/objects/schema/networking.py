"""Kinds of networking.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from controller.objects.schema.base import IntOrString, Part, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.references import TypedLocalObjectReference
from controller.objects.schema.services import LoadBalancerStatus


class NetworkPolicy(Part, frozen=True, kw_only=True):
    """A network policy: who may talk to these pods."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NetworkPolicySpec | None, Wire(2)] = None


class NetworkPolicySpec(Part, frozen=True, kw_only=True):
    podSelector: Annotated[LabelSelector | None, Wire(1)] = None
    ingress: Annotated[tuple[NetworkPolicyIngressRule, ...], Wire(2)] = ()
    egress: Annotated[tuple[NetworkPolicyEgressRule, ...], Wire(3)] = ()
    policyTypes: Annotated[tuple[str, ...], Wire(4)] = ()


class NetworkPolicyIngressRule(Part, frozen=True, kw_only=True):
    ports: Annotated[tuple[NetworkPolicyPort, ...], Wire(1)] = ()
    from_: Annotated[tuple[NetworkPolicyPeer, ...], Wire(2)] = field(default=(), name="from")


class NetworkPolicyPort(Part, frozen=True, kw_only=True):
    protocol: Annotated[str, Wire(1)] = ""
    port: Annotated[IntOrString | None, Wire(2)] = None
    endPort: Annotated[int | None, Wire(3, zero_counts=True)] = None


class NetworkPolicyPeer(Part, frozen=True, kw_only=True):
    podSelector: Annotated[LabelSelector | None, Wire(1)] = None
    namespaceSelector: Annotated[LabelSelector | None, Wire(2)] = None
    ipBlock: Annotated[IPBlock | None, Wire(3)] = None


class IPBlock(Part, frozen=True, kw_only=True):
    cidr: Annotated[str, Wire(1, required=True)] = ""
    except_: Annotated[tuple[str, ...], Wire(2)] = field(default=(), name="except")


class NetworkPolicyEgressRule(Part, frozen=True, kw_only=True):
    ports: Annotated[tuple[NetworkPolicyPort, ...], Wire(1)] = ()
    to: Annotated[tuple[NetworkPolicyPeer, ...], Wire(2)] = ()


class Ingress(Part, frozen=True, kw_only=True):
    """An ingress: which HTTP requests from outside go to which services."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[IngressSpec | None, Wire(2)] = None
    status: Annotated[IngressStatus | None, Wire(3)] = None


class IngressSpec(Part, frozen=True, kw_only=True):
    ingressClassName: Annotated[str, Wire(4)] = ""
    defaultBackend: Annotated[IngressBackend | None, Wire(1)] = None
    tls: Annotated[tuple[IngressTLS, ...], Wire(2)] = ()
    rules: Annotated[tuple[IngressRule, ...], Wire(3)] = ()


class IngressBackend(Part, frozen=True, kw_only=True):
    service: Annotated[IngressServiceBackend | None, Wire(4)] = None
    resource: Annotated[TypedLocalObjectReference | None, Wire(3)] = None


class IngressServiceBackend(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    port: Annotated[ServiceBackendPort | None, Wire(2)] = None


class ServiceBackendPort(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    number: Annotated[int, Wire(2)] = 0


class IngressTLS(Part, frozen=True, kw_only=True):
    hosts: Annotated[tuple[str, ...], Wire(1)] = ()
    secretName: Annotated[str, Wire(2)] = ""


class IngressRule(Part, frozen=True, kw_only=True):
    host: Annotated[str, Wire(1)] = ""
    http: Annotated[HTTPIngressRuleValue | None, Wire(1, within=2)] = None


class HTTPIngressRuleValue(Part, frozen=True, kw_only=True):
    paths: Annotated[tuple[HTTPIngressPath, ...], Wire(1, required=True)] = ()


class HTTPIngressPath(Part, frozen=True, kw_only=True):
    path: Annotated[str, Wire(1)] = ""
    pathType: Annotated[str, Wire(3, required=True)] = ""
    backend: Annotated[IngressBackend | None, Wire(2, required=True)] = None


class IngressStatus(Part, frozen=True, kw_only=True):
    loadBalancer: Annotated[LoadBalancerStatus | None, Wire(1)] = None


class IngressClass(Part, frozen=True, kw_only=True):
    """An ingress class: who serves ingresses."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[IngressClassSpec | None, Wire(2)] = None


class IngressClassSpec(Part, frozen=True, kw_only=True):
    controller: Annotated[str, Wire(1)] = ""
    parameters: Annotated[IngressClassParametersReference | None, Wire(2)] = None


class IngressClassParametersReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str, Wire(1)] = ""
    kind: Annotated[str, Wire(2, required=True)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""
    scope: Annotated[str, Wire(4)] = ""
    namespace: Annotated[str, Wire(5)] = ""
