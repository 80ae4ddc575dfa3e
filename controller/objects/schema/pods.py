"""Pods and their templates."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Wire
from controller.objects.schema.containers import (
    AppArmorProfile,
    Container,
    EphemeralContainer,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.podstatus import PodStatus
from controller.objects.schema.references import LocalObjectReference, ResourceRequirements, Toleration
from controller.objects.schema.volumes import Volume


class Pod(Part, frozen=True, kw_only=True):
    """A pod: containers that run together, here in a cell of their own."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PodSpec | None, Wire(2)] = None
    status: Annotated[PodStatus | None, Wire(3)] = None


class PodSpec(Part, frozen=True, kw_only=True):
    """What a pod is to be."""

    volumes: Annotated[list[Volume] | None, Wire(1, keys=("name",))] = None
    initContainers: Annotated[list[Container] | None, Wire(20, keys=("name",))] = None
    containers: Annotated[list[Container] | None, Wire(2, keys=("name",), required=True)] = None
    ephemeralContainers: Annotated[list[EphemeralContainer] | None, Wire(34, keys=("name",))] = None
    restartPolicy: Annotated[str | None, Wire(3)] = None
    terminationGracePeriodSeconds: Annotated[int | None, Wire(4, zero_counts=True)] = None
    activeDeadlineSeconds: Annotated[int | None, Wire(5, zero_counts=True)] = None
    dnsPolicy: Annotated[str | None, Wire(6)] = None
    nodeSelector: Annotated[dict[str, str] | None, Wire(7, atomic=True)] = None
    serviceAccountName: Annotated[str | None, Wire(8)] = None
    serviceAccount: Annotated[str | None, Wire(9)] = None
    automountServiceAccountToken: Annotated[bool | None, Wire(21, zero_counts=True)] = None
    nodeName: Annotated[str | None, Wire(10)] = None
    hostNetwork: Annotated[bool | None, Wire(11)] = None
    hostPID: Annotated[bool | None, Wire(12)] = None
    hostIPC: Annotated[bool | None, Wire(13)] = None
    shareProcessNamespace: Annotated[bool | None, Wire(27, zero_counts=True)] = None
    securityContext: Annotated[PodSecurityContext | None, Wire(14)] = None
    imagePullSecrets: Annotated[list[LocalObjectReference] | None, Wire(15, keys=("name",))] = None
    hostname: Annotated[str | None, Wire(16)] = None
    subdomain: Annotated[str | None, Wire(17)] = None
    affinity: Annotated[Affinity | None, Wire(18)] = None
    schedulerName: Annotated[str | None, Wire(19)] = None
    tolerations: Annotated[list[Toleration] | None, Wire(22)] = None
    hostAliases: Annotated[list[HostAlias] | None, Wire(23, keys=("ip",))] = None
    priorityClassName: Annotated[str | None, Wire(24)] = None
    priority: Annotated[int | None, Wire(25, zero_counts=True)] = None
    dnsConfig: Annotated[PodDNSConfig | None, Wire(26)] = None
    readinessGates: Annotated[list[PodReadinessGate] | None, Wire(28)] = None
    runtimeClassName: Annotated[str | None, Wire(29)] = None
    enableServiceLinks: Annotated[bool | None, Wire(30, zero_counts=True)] = None
    preemptionPolicy: Annotated[str | None, Wire(31)] = None
    overhead: Annotated[dict[str, Quantity] | None, Wire(32)] = None
    topologySpreadConstraints: Annotated[
        list[TopologySpreadConstraint] | None, Wire(33, keys=("topologyKey", "whenUnsatisfiable"))
    ] = None
    setHostnameAsFQDN: Annotated[bool | None, Wire(35, zero_counts=True)] = None
    os: Annotated[PodOS | None, Wire(36)] = None
    hostUsers: Annotated[bool | None, Wire(37, zero_counts=True)] = None
    schedulingGates: Annotated[list[PodSchedulingGate] | None, Wire(38, keys=("name",))] = None
    resourceClaims: Annotated[list[PodResourceClaim] | None, Wire(39, keys=("name",))] = None
    resources: Annotated[ResourceRequirements | None, Wire(40)] = None
    hostnameOverride: Annotated[str | None, Wire(41)] = None
    schedulingGroup: Annotated[PodSchedulingGroup | None, Wire(43)] = None
    evictionResponders: Annotated[list[EvictionResponder] | None, Wire(44, keys=("name",))] = None


class PodSecurityContext(Part, frozen=True, kw_only=True):
    seLinuxOptions: Annotated[SELinuxOptions | None, Wire(1)] = None
    windowsOptions: Annotated[WindowsSecurityContextOptions | None, Wire(8)] = None
    runAsUser: Annotated[int | None, Wire(2, zero_counts=True)] = None
    runAsGroup: Annotated[int | None, Wire(6, zero_counts=True)] = None
    runAsNonRoot: Annotated[bool | None, Wire(3, zero_counts=True)] = None
    supplementalGroups: Annotated[list[int] | None, Wire(4)] = None
    supplementalGroupsPolicy: Annotated[str | None, Wire(12)] = None
    fsGroup: Annotated[int | None, Wire(5, zero_counts=True)] = None
    sysctls: Annotated[list[Sysctl] | None, Wire(7)] = None
    fsGroupChangePolicy: Annotated[str | None, Wire(9)] = None
    seccompProfile: Annotated[SeccompProfile | None, Wire(10)] = None
    appArmorProfile: Annotated[AppArmorProfile | None, Wire(11)] = None
    seLinuxChangePolicy: Annotated[str | None, Wire(13)] = None


class Sysctl(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    value: Annotated[str | None, Wire(2, required=True)] = None


class HostAlias(Part, frozen=True, kw_only=True):
    ip: Annotated[str | None, Wire(1, required=True)] = None
    hostnames: Annotated[list[str] | None, Wire(2)] = None


class PodDNSConfig(Part, frozen=True, kw_only=True):
    nameservers: Annotated[list[str] | None, Wire(1)] = None
    searches: Annotated[list[str] | None, Wire(2)] = None
    options: Annotated[list[PodDNSConfigOption] | None, Wire(3)] = None


class PodDNSConfigOption(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    value: Annotated[str | None, Wire(2)] = None


class PodReadinessGate(Part, frozen=True, kw_only=True):
    conditionType: Annotated[str | None, Wire(1, required=True)] = None


class PodOS(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None


class PodSchedulingGate(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None


class PodResourceClaim(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    resourceClaimName: Annotated[str | None, Wire(3)] = None
    resourceClaimTemplateName: Annotated[str | None, Wire(4)] = None


class PodSchedulingGroup(Part, frozen=True, kw_only=True):
    podGroupName: Annotated[str | None, Wire(1)] = None


class EvictionResponder(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    priority: Annotated[int | None, Wire(2, required=True)] = None


class PodTemplateSpec(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PodSpec | None, Wire(2)] = None


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
