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

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NetworkPolicySpec | None, Wire(2)] = None


class NetworkPolicySpec(Part, frozen=True, kw_only=True):
    podSelector: Annotated[LabelSelector | None, Wire(1)] = None
    ingress: Annotated[list[NetworkPolicyIngressRule] | None, Wire(2)] = None
    egress: Annotated[list[NetworkPolicyEgressRule] | None, Wire(3)] = None
    policyTypes: Annotated[list[str] | None, Wire(4)] = None


class NetworkPolicyIngressRule(Part, frozen=True, kw_only=True):
    ports: Annotated[list[NetworkPolicyPort] | None, Wire(1)] = None
    from_: Annotated[list[NetworkPolicyPeer] | None, Wire(2)] = field(default=None, name="from")


class NetworkPolicyPort(Part, frozen=True, kw_only=True):
    protocol: Annotated[str | None, Wire(1)] = None
    port: Annotated[IntOrString | None, Wire(2)] = None
    endPort: Annotated[int | None, Wire(3, zero_counts=True)] = None


class NetworkPolicyPeer(Part, frozen=True, kw_only=True):
    podSelector: Annotated[LabelSelector | None, Wire(1)] = None
    namespaceSelector: Annotated[LabelSelector | None, Wire(2)] = None
    ipBlock: Annotated[IPBlock | None, Wire(3)] = None


class IPBlock(Part, frozen=True, kw_only=True):
    cidr: Annotated[str | None, Wire(1, required=True)] = None
    except_: Annotated[list[str] | None, Wire(2)] = field(default=None, name="except")


class NetworkPolicyEgressRule(Part, frozen=True, kw_only=True):
    ports: Annotated[list[NetworkPolicyPort] | None, Wire(1)] = None
    to: Annotated[list[NetworkPolicyPeer] | None, Wire(2)] = None


class Ingress(Part, frozen=True, kw_only=True):
    """An ingress: which HTTP requests from outside go to which services."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[IngressSpec | None, Wire(2)] = None
    status: Annotated[IngressStatus | None, Wire(3)] = None


class IngressSpec(Part, frozen=True, kw_only=True):
    ingressClassName: Annotated[str | None, Wire(4)] = None
    defaultBackend: Annotated[IngressBackend | None, Wire(1)] = None
    tls: Annotated[list[IngressTLS] | None, Wire(2)] = None
    rules: Annotated[list[IngressRule] | None, Wire(3)] = None


class IngressBackend(Part, frozen=True, kw_only=True):
    service: Annotated[IngressServiceBackend | None, Wire(4)] = None
    resource: Annotated[TypedLocalObjectReference | None, Wire(3)] = None


class IngressServiceBackend(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    port: Annotated[ServiceBackendPort | None, Wire(2)] = None


class ServiceBackendPort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    number: Annotated[int | None, Wire(2)] = None


class IngressTLS(Part, frozen=True, kw_only=True):
    hosts: Annotated[list[str] | None, Wire(1)] = None
    secretName: Annotated[str | None, Wire(2)] = None


class IngressRule(Part, frozen=True, kw_only=True):
    host: Annotated[str | None, Wire(1)] = None
    http: Annotated[HTTPIngressRuleValue | None, Wire(1, within=2)] = None


class HTTPIngressRuleValue(Part, frozen=True, kw_only=True):
    paths: Annotated[list[HTTPIngressPath] | None, Wire(1, required=True)] = None


class HTTPIngressPath(Part, frozen=True, kw_only=True):
    path: Annotated[str | None, Wire(1)] = None
    pathType: Annotated[str | None, Wire(3, required=True)] = None
    backend: Annotated[IngressBackend | None, Wire(2, required=True)] = None


class IngressStatus(Part, frozen=True, kw_only=True):
    loadBalancer: Annotated[LoadBalancerStatus | None, Wire(1)] = None


class IngressClass(Part, frozen=True, kw_only=True):
    """An ingress class: who serves ingresses."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[IngressClassSpec | None, Wire(2)] = None


class IngressClassSpec(Part, frozen=True, kw_only=True):
    controller: Annotated[str | None, Wire(1)] = None
    parameters: Annotated[IngressClassParametersReference | None, Wire(2)] = None


class IngressClassParametersReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str | None, Wire(1)] = None
    kind: Annotated[str | None, Wire(2, required=True)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None
    scope: Annotated[str | None, Wire(4)] = None
    namespace: Annotated[str | None, Wire(5)] = None
