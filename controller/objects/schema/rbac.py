"""Kinds of rbac.authorization.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta


class Role(Part, frozen=True, kw_only=True):
    """A role: what may be done in one namespace."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    rules: Annotated[list[PolicyRule] | None, Wire(2)] = None


class PolicyRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[list[str] | None, Wire(1, required=True)] = None
    apiGroups: Annotated[list[str] | None, Wire(2)] = None
    resources: Annotated[list[str] | None, Wire(3)] = None
    resourceNames: Annotated[list[str] | None, Wire(4)] = None
    nonResourceURLs: Annotated[list[str] | None, Wire(5)] = None


class RoleBinding(Part, frozen=True, kw_only=True):
    """A role binding: who has a role in one namespace."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subjects: Annotated[list[Subject] | None, Wire(2)] = None
    roleRef: Annotated[RoleRef | None, Wire(3, required=True)] = None


class Subject(Part, frozen=True, kw_only=True):
    kind: Annotated[str | None, Wire(1, required=True)] = None
    apiGroup: Annotated[str | None, Wire(2)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None
    namespace: Annotated[str | None, Wire(4)] = None


class RoleRef(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str | None, Wire(1)] = None
    kind: Annotated[str | None, Wire(2, required=True)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None


class ClusterRole(Part, frozen=True, kw_only=True):
    """A cluster role: what may be done everywhere."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    rules: Annotated[list[PolicyRule] | None, Wire(2)] = None
    aggregationRule: Annotated[AggregationRule | None, Wire(3)] = None


class AggregationRule(Part, frozen=True, kw_only=True):
    clusterRoleSelectors: Annotated[list[LabelSelector] | None, Wire(1)] = None


class ClusterRoleBinding(Part, frozen=True, kw_only=True):
    """A cluster role binding: who has a cluster role everywhere."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subjects: Annotated[list[Subject] | None, Wire(2)] = None
    roleRef: Annotated[RoleRef | None, Wire(3, required=True)] = None
