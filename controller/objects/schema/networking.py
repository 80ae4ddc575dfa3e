"""Kinds of networking.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from controller.objects.schema.base import IntOrString, Part, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta


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
    endPort: Annotated[int | None, Wire(3)] = None


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
