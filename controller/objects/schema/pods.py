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


class PodSpec(Part, frozen=True, kw_only=True):
    """Specification of a pod."""

    volumes: Annotated[tuple[Volume, ...], Wire(1, keys=("name",))] = ()
    initContainers: Annotated[tuple[Container, ...], Wire(20, keys=("name",))] = ()
    containers: Annotated[tuple[Container, ...], Wire(2, keys=("name",), required=True)] = ()
    ephemeralContainers: Annotated[tuple[EphemeralContainer, ...], Wire(34, keys=("name",))] = ()
    restartPolicy: Annotated[str, Wire(3)] = ""
    terminationGracePeriodSeconds: Annotated[int | None, Wire(4, zero_counts=True)] = None
    activeDeadlineSeconds: Annotated[int | None, Wire(5, zero_counts=True)] = None
    dnsPolicy: Annotated[str, Wire(6)] = ""
    nodeSelector: Annotated[dict[str, str], Wire(7, atomic=True)] = {}
    serviceAccountName: Annotated[str, Wire(8)] = ""
    serviceAccount: Annotated[str, Wire(9)] = ""
    automountServiceAccountToken: Annotated[bool | None, Wire(21, zero_counts=True)] = None
    nodeName: Annotated[str, Wire(10)] = ""
    hostNetwork: Annotated[bool, Wire(11)] = False
    hostPID: Annotated[bool, Wire(12)] = False
    hostIPC: Annotated[bool, Wire(13)] = False
    shareProcessNamespace: Annotated[bool | None, Wire(27, zero_counts=True)] = None
    securityContext: Annotated[PodSecurityContext | None, Wire(14)] = None
    imagePullSecrets: Annotated[tuple[LocalObjectReference, ...], Wire(15, keys=("name",))] = ()
    hostname: Annotated[str, Wire(16)] = ""
    subdomain: Annotated[str, Wire(17)] = ""
    affinity: Annotated[Affinity | None, Wire(18)] = None
    schedulerName: Annotated[str, Wire(19)] = ""
    tolerations: Annotated[tuple[Toleration, ...], Wire(22)] = ()
    hostAliases: Annotated[tuple[HostAlias, ...], Wire(23, keys=("ip",))] = ()
    priorityClassName: Annotated[str, Wire(24)] = ""
    priority: Annotated[int | None, Wire(25, zero_counts=True)] = None
    dnsConfig: Annotated[PodDNSConfig | None, Wire(26)] = None
    readinessGates: Annotated[tuple[PodReadinessGate, ...], Wire(28)] = ()
    runtimeClassName: Annotated[str, Wire(29)] = ""
    enableServiceLinks: Annotated[bool | None, Wire(30, zero_counts=True)] = None
    preemptionPolicy: Annotated[str, Wire(31)] = ""
    overhead: Annotated[dict[str, Quantity], Wire(32)] = {}
    topologySpreadConstraints: Annotated[
        tuple[TopologySpreadConstraint, ...], Wire(33, keys=("topologyKey", "whenUnsatisfiable"))
    ] = ()
    setHostnameAsFQDN: Annotated[bool | None, Wire(35, zero_counts=True)] = None
    os: Annotated[PodOS | None, Wire(36)] = None
    hostUsers: Annotated[bool | None, Wire(37, zero_counts=True)] = None
    schedulingGates: Annotated[tuple[PodSchedulingGate, ...], Wire(38, keys=("name",))] = ()
    resourceClaims: Annotated[tuple[PodResourceClaim, ...], Wire(39, keys=("name",))] = ()
    resources: Annotated[ResourceRequirements | None, Wire(40)] = None
    hostnameOverride: Annotated[str, Wire(41)] = ""
    schedulingGroup: Annotated[PodSchedulingGroup | None, Wire(43)] = None
    evictionResponders: Annotated[tuple[EvictionResponder, ...], Wire(44, keys=("name",))] = ()


class Pod(Part, frozen=True, kw_only=True):
    """A pod: containers that run together, here in a cell of their own."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta, Wire(1)] = ObjectMeta()
    spec: Annotated[PodSpec, Wire(2)] = PodSpec()
    status: Annotated[PodStatus | None, Wire(3)] = None


class PodSecurityContext(Part, frozen=True, kw_only=True):
    seLinuxOptions: Annotated[SELinuxOptions | None, Wire(1)] = None
    windowsOptions: Annotated[WindowsSecurityContextOptions | None, Wire(8)] = None
    runAsUser: Annotated[int | None, Wire(2, zero_counts=True)] = None
    runAsGroup: Annotated[int | None, Wire(6, zero_counts=True)] = None
    runAsNonRoot: Annotated[bool | None, Wire(3, zero_counts=True)] = None
    supplementalGroups: Annotated[tuple[int, ...], Wire(4)] = ()
    supplementalGroupsPolicy: Annotated[str, Wire(12)] = ""
    fsGroup: Annotated[int | None, Wire(5, zero_counts=True)] = None
    sysctls: Annotated[tuple[Sysctl, ...], Wire(7)] = ()
    fsGroupChangePolicy: Annotated[str, Wire(9)] = ""
    seccompProfile: Annotated[SeccompProfile | None, Wire(10)] = None
    appArmorProfile: Annotated[AppArmorProfile | None, Wire(11)] = None
    seLinuxChangePolicy: Annotated[str, Wire(13)] = ""


class Sysctl(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    value: Annotated[str, Wire(2, required=True)] = ""


class HostAlias(Part, frozen=True, kw_only=True):
    ip: Annotated[str, Wire(1, required=True)] = ""
    hostnames: Annotated[tuple[str, ...], Wire(2)] = ()


class PodDNSConfig(Part, frozen=True, kw_only=True):
    nameservers: Annotated[tuple[str, ...], Wire(1)] = ()
    searches: Annotated[tuple[str, ...], Wire(2)] = ()
    options: Annotated[tuple[PodDNSConfigOption, ...], Wire(3)] = ()


class PodDNSConfigOption(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    value: Annotated[str, Wire(2)] = ""


class PodReadinessGate(Part, frozen=True, kw_only=True):
    conditionType: Annotated[str, Wire(1, required=True)] = ""


class PodOS(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""


class PodSchedulingGate(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""


class PodResourceClaim(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    resourceClaimName: Annotated[str, Wire(3)] = ""
    resourceClaimTemplateName: Annotated[str, Wire(4)] = ""


class PodSchedulingGroup(Part, frozen=True, kw_only=True):
    podGroupName: Annotated[str, Wire(1)] = ""


class EvictionResponder(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    priority: Annotated[int, Wire(2, required=True)] = 0


class PodTemplateSpec(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PodSpec | None, Wire(2)] = None


class Affinity(Part, frozen=True, kw_only=True):
    nodeAffinity: Annotated[NodeAffinity | None, Wire(1)] = None
    podAffinity: Annotated[PodAffinity | None, Wire(2)] = None
    podAntiAffinity: Annotated[PodAntiAffinity | None, Wire(3)] = None


class NodeAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[NodeSelector | None, Wire(1)] = None
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[tuple[PreferredSchedulingTerm, ...], Wire(2)] = ()


class NodeSelector(Part, frozen=True, kw_only=True):
    nodeSelectorTerms: Annotated[tuple[NodeSelectorTerm, ...], Wire(1, required=True)] = ()


class NodeSelectorTerm(Part, frozen=True, kw_only=True):
    matchExpressions: Annotated[tuple[NodeSelectorRequirement, ...], Wire(1)] = ()
    matchFields: Annotated[tuple[NodeSelectorRequirement, ...], Wire(2)] = ()


class NodeSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1, required=True)] = ""
    operator: Annotated[str, Wire(2, required=True)] = ""
    values: Annotated[tuple[str, ...], Wire(3)] = ()


class PreferredSchedulingTerm(Part, frozen=True, kw_only=True):
    weight: Annotated[int | None, Wire(1, required=True, zero_counts=True)] = None
    preference: Annotated[NodeSelectorTerm | None, Wire(2, required=True)] = None


class PodAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[tuple[PodAffinityTerm, ...], Wire(1)] = ()
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[tuple[WeightedPodAffinityTerm, ...], Wire(2)] = ()


class PodAffinityTerm(Part, frozen=True, kw_only=True):
    labelSelector: Annotated[LabelSelector | None, Wire(1)] = None
    namespaces: Annotated[tuple[str, ...], Wire(2)] = ()
    topologyKey: Annotated[str, Wire(3, required=True)] = ""
    namespaceSelector: Annotated[LabelSelector | None, Wire(4)] = None
    matchLabelKeys: Annotated[tuple[str, ...], Wire(5)] = ()
    mismatchLabelKeys: Annotated[tuple[str, ...], Wire(6)] = ()


class WeightedPodAffinityTerm(Part, frozen=True, kw_only=True):
    weight: Annotated[int, Wire(1, required=True)] = 0
    podAffinityTerm: Annotated[PodAffinityTerm | None, Wire(2, required=True)] = None


class PodAntiAffinity(Part, frozen=True, kw_only=True):
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[tuple[PodAffinityTerm, ...], Wire(1)] = ()
    preferredDuringSchedulingIgnoredDuringExecution: Annotated[tuple[WeightedPodAffinityTerm, ...], Wire(2)] = ()


class TopologySpreadConstraint(Part, frozen=True, kw_only=True):
    maxSkew: Annotated[int, Wire(1, required=True)] = 0
    topologyKey: Annotated[str, Wire(2, required=True)] = ""
    whenUnsatisfiable: Annotated[str, Wire(3, required=True)] = ""
    labelSelector: Annotated[LabelSelector | None, Wire(4)] = None
    minDomains: Annotated[int | None, Wire(5, zero_counts=True)] = None
    nodeAffinityPolicy: Annotated[str, Wire(6)] = ""
    nodeTaintsPolicy: Annotated[str, Wire(7)] = ""
    matchLabelKeys: Annotated[tuple[str, ...], Wire(8)] = ()
