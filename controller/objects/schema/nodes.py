"""Nodes and namespaces."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.references import Taint


class Namespace(Part, frozen=True, kw_only=True):
    """A namespace: a part of the names, whose end is the end of all that is in it."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NamespaceSpec | None, Wire(2)] = None
    status: Annotated[NamespaceStatus | None, Wire(3)] = None


class NamespaceSpec(Part, frozen=True, kw_only=True):
    finalizers: Annotated[list[str] | None, Wire(1)] = None


class NamespaceStatus(Part, frozen=True, kw_only=True):
    phase: Annotated[str | None, Wire(1)] = None
    conditions: Annotated[list[NamespaceCondition] | None, Wire(2, keys=("type",))] = None


class NamespaceCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(5)] = None
    message: Annotated[str | None, Wire(6)] = None


class Node(Part, frozen=True, kw_only=True):
    """A node: here a cell, shown for reading; each runs one pod."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NodeSpec | None, Wire(2)] = None
    status: Annotated[NodeStatus | None, Wire(3)] = None


class NodeSpec(Part, frozen=True, kw_only=True):
    podCIDR: Annotated[str | None, Wire(1)] = None
    podCIDRs: Annotated[list[str] | None, Wire(7, joins=True, is_set=True)] = None
    providerID: Annotated[str | None, Wire(3)] = None
    unschedulable: Annotated[bool | None, Wire(4)] = None
    taints: Annotated[list[Taint] | None, Wire(5)] = None
    configSource: Annotated[NodeConfigSource | None, Wire(6)] = None
    externalID: Annotated[str | None, Wire(2)] = None
    podPreemptionPolicy: Annotated[NodePodPreemptionPolicy | None, Wire(8)] = None


class NodeConfigSource(Part, frozen=True, kw_only=True):
    configMap: Annotated[ConfigMapNodeConfigSource | None, Wire(2)] = None


class ConfigMapNodeConfigSource(Part, frozen=True, kw_only=True):
    namespace: Annotated[str | None, Wire(1, required=True)] = None
    name: Annotated[str | None, Wire(2, required=True)] = None
    uid: Annotated[str | None, Wire(3)] = None
    resourceVersion: Annotated[str | None, Wire(4)] = None
    kubeletConfigKey: Annotated[str | None, Wire(5, required=True)] = None


class NodePodPreemptionPolicy(Part, frozen=True, kw_only=True):
    disableResizePreemption: Annotated[list[str] | None, Wire(1, is_set=True)] = None


class NodeStatus(Part, frozen=True, kw_only=True):
    capacity: Annotated[dict[str, Quantity] | None, Wire(1)] = None
    allocatable: Annotated[dict[str, Quantity] | None, Wire(2)] = None
    phase: Annotated[str | None, Wire(3)] = None
    conditions: Annotated[list[NodeCondition] | None, Wire(4, keys=("type",))] = None
    addresses: Annotated[list[NodeAddress] | None, Wire(5, keys=("type",))] = None
    daemonEndpoints: Annotated[NodeDaemonEndpoints | None, Wire(6)] = None
    nodeInfo: Annotated[NodeSystemInfo | None, Wire(7)] = None
    images: Annotated[list[ContainerImage] | None, Wire(8)] = None
    volumesInUse: Annotated[list[str] | None, Wire(9)] = None
    volumesAttached: Annotated[list[AttachedVolume] | None, Wire(10)] = None
    config: Annotated[NodeConfigStatus | None, Wire(11)] = None
    runtimeHandlers: Annotated[list[NodeRuntimeHandler] | None, Wire(12)] = None
    features: Annotated[NodeFeatures | None, Wire(13)] = None
    declaredFeatures: Annotated[list[str] | None, Wire(14)] = None


class NodeCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastHeartbeatTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(5)] = None
    message: Annotated[str | None, Wire(6)] = None


class NodeAddress(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    address: Annotated[str | None, Wire(2, required=True)] = None


class NodeDaemonEndpoints(Part, frozen=True, kw_only=True):
    kubeletEndpoint: Annotated[DaemonEndpoint | None, Wire(1)] = None


class DaemonEndpoint(Part, frozen=True, kw_only=True):
    Port: Annotated[int | None, Wire(1, required=True)] = None


class NodeSystemInfo(Part, frozen=True, kw_only=True):
    machineID: Annotated[str | None, Wire(1, required=True)] = None
    systemUUID: Annotated[str | None, Wire(2, required=True)] = None
    bootID: Annotated[str | None, Wire(3, required=True)] = None
    kernelVersion: Annotated[str | None, Wire(4, required=True)] = None
    osImage: Annotated[str | None, Wire(5, required=True)] = None
    containerRuntimeVersion: Annotated[str | None, Wire(6, required=True)] = None
    kubeletVersion: Annotated[str | None, Wire(7, required=True)] = None
    kubeProxyVersion: Annotated[str | None, Wire(8, required=True)] = None
    operatingSystem: Annotated[str | None, Wire(9, required=True)] = None
    architecture: Annotated[str | None, Wire(10, required=True)] = None
    swap: Annotated[NodeSwapStatus | None, Wire(11)] = None


class NodeSwapStatus(Part, frozen=True, kw_only=True):
    capacity: Annotated[int | None, Wire(1)] = None


class ContainerImage(Part, frozen=True, kw_only=True):
    names: Annotated[list[str] | None, Wire(1)] = None
    sizeBytes: Annotated[int | None, Wire(2)] = None


class AttachedVolume(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    devicePath: Annotated[str | None, Wire(2, required=True)] = None


class NodeConfigStatus(Part, frozen=True, kw_only=True):
    assigned: Annotated[NodeConfigSource | None, Wire(1)] = None
    active: Annotated[NodeConfigSource | None, Wire(2)] = None
    lastKnownGood: Annotated[NodeConfigSource | None, Wire(3)] = None
    error: Annotated[str | None, Wire(4)] = None


class NodeRuntimeHandler(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    features: Annotated[NodeRuntimeHandlerFeatures | None, Wire(2)] = None


class NodeRuntimeHandlerFeatures(Part, frozen=True, kw_only=True):
    recursiveReadOnlyMounts: Annotated[bool | None, Wire(1)] = None
    userNamespaces: Annotated[bool | None, Wire(2)] = None


class NodeFeatures(Part, frozen=True, kw_only=True):
    supplementalGroupsPolicy: Annotated[bool | None, Wire(1)] = None
