"""Where a pod is to be: affinity and spread."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Wire
from controller.objects.schema.meta import LabelSelector


class Affinity(Part, frozen=True, kw_only=True):
    nodeAffinity: Annotated[NodeAffinity | None, Wire(1)] = None
    podAffinity: Annotated[PodAffinity | None, Wire(2)] = None
    podAntiAffinity: Annotated[PodAntiAffinity | None, Wire(3)] = None


class NodeAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[NodeSelector | None, Wire(1)] = None
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[list[PreferredSchedulingTerm] | None, Wire(2)] = None


class NodeSelector(Part, frozen=True, kw_only=True):
    nodeSelectorTerms: Annotated[list[NodeSelectorTerm] | None, Wire(1, required=True)] = None


class NodeSelectorTerm(Part, frozen=True, kw_only=True):
    matchExpressions: Annotated[list[NodeSelectorRequirement] | None, Wire(1)] = None
    matchFields: Annotated[list[NodeSelectorRequirement] | None, Wire(2)] = None


class NodeSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1, required=True)] = None
    operator: Annotated[str | None, Wire(2, required=True)] = None
    values: Annotated[list[str] | None, Wire(3)] = None


class PreferredSchedulingTerm(Part, frozen=True, kw_only=True):
    weight: Annotated[int | None, Wire(1, required=True, zero_counts=True)] = None
    preference: Annotated[NodeSelectorTerm | None, Wire(2, required=True)] = None


class PodAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[list[PodAffinityTerm] | None, Wire(1)] = None
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[list[WeightedPodAffinityTerm] | None, Wire(2)] = None


class PodAffinityTerm(Part, frozen=True, kw_only=True):
    labelSelector: Annotated[LabelSelector | None, Wire(1)] = None
    namespaces: Annotated[list[str] | None, Wire(2)] = None
    topologyKey: Annotated[str | None, Wire(3, required=True)] = None
    namespaceSelector: Annotated[LabelSelector | None, Wire(4)] = None
    matchLabelKeys: Annotated[list[str] | None, Wire(5)] = None
    mismatchLabelKeys: Annotated[list[str] | None, Wire(6)] = None


class WeightedPodAffinityTerm(Part, frozen=True, kw_only=True):
    weight: Annotated[int | None, Wire(1, required=True)] = None
    podAffinityTerm: Annotated[PodAffinityTerm | None, Wire(2, required=True)] = None


class PodAntiAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[list[PodAffinityTerm] | None, Wire(1)] = None
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[list[WeightedPodAffinityTerm] | None, Wire(2)] = None


class TopologySpreadConstraint(Part, frozen=True, kw_only=True):
    maxSkew: Annotated[int | None, Wire(1, required=True)] = None
    topologyKey: Annotated[str | None, Wire(2, required=True)] = None
    whenUnsatisfiable: Annotated[str | None, Wire(3, required=True)] = None
    labelSelector: Annotated[LabelSelector | None, Wire(4)] = None
    minDomains: Annotated[int | None, Wire(5, zero_counts=True)] = None
    nodeAffinityPolicy: Annotated[str | None, Wire(6)] = None
    nodeTaintsPolicy: Annotated[str | None, Wire(7)] = None
    matchLabelKeys: Annotated[list[str] | None, Wire(8)] = None
