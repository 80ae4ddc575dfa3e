"""Kinds of rbac.authorization.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta


class Role(Part, frozen=True, kw_only=True):
    """A role: what may be done in one namespace."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    rules: Annotated[tuple[PolicyRule, ...], Wire(2)] = ()


class PolicyRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[tuple[str, ...], Wire(1, required=True)] = ()
    apiGroups: Annotated[tuple[str, ...], Wire(2)] = ()
    resources: Annotated[tuple[str, ...], Wire(3)] = ()
    resourceNames: Annotated[tuple[str, ...], Wire(4)] = ()
    nonResourceURLs: Annotated[tuple[str, ...], Wire(5)] = ()


class RoleBinding(Part, frozen=True, kw_only=True):
    """A role binding: who has a role in one namespace."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subjects: Annotated[tuple[Subject, ...], Wire(2)] = ()
    roleRef: Annotated[RoleRef | None, Wire(3, required=True)] = None


class Subject(Part, frozen=True, kw_only=True):
    kind: Annotated[str, Wire(1, required=True)] = ""
    apiGroup: Annotated[str, Wire(2)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""
    namespace: Annotated[str, Wire(4)] = ""


class RoleRef(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str, Wire(1)] = ""
    kind: Annotated[str, Wire(2, required=True)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""


class ClusterRole(Part, frozen=True, kw_only=True):
    """A cluster role: what may be done everywhere."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    rules: Annotated[tuple[PolicyRule, ...], Wire(2)] = ()
    aggregationRule: Annotated[AggregationRule | None, Wire(3)] = None


class AggregationRule(Part, frozen=True, kw_only=True):
    clusterRoleSelectors: Annotated[tuple[LabelSelector, ...], Wire(1)] = ()


class ClusterRoleBinding(Part, frozen=True, kw_only=True):
    """A cluster role binding: who has a cluster role everywhere."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    subjects: Annotated[tuple[Subject, ...], Wire(2)] = ()
    roleRef: Annotated[RoleRef | None, Wire(3, required=True)] = None
