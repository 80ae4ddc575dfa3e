"""Nodes and namespaces."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.references import Taint


class Namespace(Part, frozen=True, kw_only=True):
    """A namespace: a part of the names, whose end is the end of all that is in it."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NamespaceSpec | None, Wire(2)] = None
    status: Annotated[NamespaceStatus | None, Wire(3)] = None


class NamespaceSpec(Part, frozen=True, kw_only=True):
    finalizers: Annotated[tuple[str, ...], Wire(1)] = ()


class NamespaceStatus(Part, frozen=True, kw_only=True):
    phase: Annotated[str, Wire(1)] = ""
    conditions: Annotated[tuple[NamespaceCondition, ...], Wire(2, keys=("type",))] = ()


class NamespaceCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str, Wire(5)] = ""
    message: Annotated[str, Wire(6)] = ""


class Node(Part, frozen=True, kw_only=True):
    """A node: here a cell, shown for reading; each runs one pod."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[NodeSpec | None, Wire(2)] = None
    status: Annotated[NodeStatus | None, Wire(3)] = None


class NodeSpec(Part, frozen=True, kw_only=True):
    podCIDR: Annotated[str, Wire(1)] = ""
    podCIDRs: Annotated[tuple[str, ...], Wire(7, joins=True, is_set=True)] = ()
    providerID: Annotated[str, Wire(3)] = ""
    unschedulable: Annotated[bool, Wire(4)] = False
    taints: Annotated[tuple[Taint, ...], Wire(5)] = ()
    configSource: Annotated[NodeConfigSource | None, Wire(6)] = None
    externalID: Annotated[str, Wire(2)] = ""
    podPreemptionPolicy: Annotated[NodePodPreemptionPolicy | None, Wire(8)] = None


class NodeConfigSource(Part, frozen=True, kw_only=True):
    configMap: Annotated[ConfigMapNodeConfigSource | None, Wire(2)] = None


class ConfigMapNodeConfigSource(Part, frozen=True, kw_only=True):
    namespace: Annotated[str, Wire(1, required=True)] = ""
    name: Annotated[str, Wire(2, required=True)] = ""
    uid: Annotated[str, Wire(3)] = ""
    resourceVersion: Annotated[str, Wire(4)] = ""
    kubeletConfigKey: Annotated[str, Wire(5, required=True)] = ""


class NodePodPreemptionPolicy(Part, frozen=True, kw_only=True):
    disableResizePreemption: Annotated[tuple[str, ...], Wire(1, is_set=True)] = ()


class NodeStatus(Part, frozen=True, kw_only=True):
    capacity: Annotated[dict[str, Quantity], Wire(1)] = {}
    allocatable: Annotated[dict[str, Quantity], Wire(2)] = {}
    phase: Annotated[str, Wire(3)] = ""
    conditions: Annotated[tuple[NodeCondition, ...], Wire(4, keys=("type",))] = ()
    addresses: Annotated[tuple[NodeAddress, ...], Wire(5, keys=("type",))] = ()
    daemonEndpoints: Annotated[NodeDaemonEndpoints | None, Wire(6)] = None
    nodeInfo: Annotated[NodeSystemInfo | None, Wire(7)] = None
    images: Annotated[tuple[ContainerImage, ...], Wire(8)] = ()
    volumesInUse: Annotated[tuple[str, ...], Wire(9)] = ()
    volumesAttached: Annotated[tuple[AttachedVolume, ...], Wire(10)] = ()
    config: Annotated[NodeConfigStatus | None, Wire(11)] = None
    runtimeHandlers: Annotated[tuple[NodeRuntimeHandler, ...], Wire(12)] = ()
    features: Annotated[NodeFeatures | None, Wire(13)] = None
    declaredFeatures: Annotated[tuple[str, ...], Wire(14)] = ()


class NodeCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastHeartbeatTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str, Wire(5)] = ""
    message: Annotated[str, Wire(6)] = ""


class NodeAddress(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    address: Annotated[str, Wire(2, required=True)] = ""


class NodeDaemonEndpoints(Part, frozen=True, kw_only=True):
    kubeletEndpoint: Annotated[DaemonEndpoint | None, Wire(1)] = None


class DaemonEndpoint(Part, frozen=True, kw_only=True):
    Port: Annotated[int, Wire(1, required=True)] = 0


class NodeSystemInfo(Part, frozen=True, kw_only=True):
    machineID: Annotated[str, Wire(1, required=True)] = ""
    systemUUID: Annotated[str, Wire(2, required=True)] = ""
    bootID: Annotated[str, Wire(3, required=True)] = ""
    kernelVersion: Annotated[str, Wire(4, required=True)] = ""
    osImage: Annotated[str, Wire(5, required=True)] = ""
    containerRuntimeVersion: Annotated[str, Wire(6, required=True)] = ""
    kubeletVersion: Annotated[str, Wire(7, required=True)] = ""
    kubeProxyVersion: Annotated[str, Wire(8, required=True)] = ""
    operatingSystem: Annotated[str, Wire(9, required=True)] = ""
    architecture: Annotated[str, Wire(10, required=True)] = ""
    swap: Annotated[NodeSwapStatus | None, Wire(11)] = None


class NodeSwapStatus(Part, frozen=True, kw_only=True):
    capacity: Annotated[int, Wire(1)] = 0


class ContainerImage(Part, frozen=True, kw_only=True):
    names: Annotated[tuple[str, ...], Wire(1)] = ()
    sizeBytes: Annotated[int, Wire(2)] = 0


class AttachedVolume(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    devicePath: Annotated[str, Wire(2, required=True)] = ""


class NodeConfigStatus(Part, frozen=True, kw_only=True):
    assigned: Annotated[NodeConfigSource | None, Wire(1)] = None
    active: Annotated[NodeConfigSource | None, Wire(2)] = None
    lastKnownGood: Annotated[NodeConfigSource | None, Wire(3)] = None
    error: Annotated[str, Wire(4)] = ""


class NodeRuntimeHandler(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    features: Annotated[NodeRuntimeHandlerFeatures | None, Wire(2)] = None


class NodeRuntimeHandlerFeatures(Part, frozen=True, kw_only=True):
    recursiveReadOnlyMounts: Annotated[bool, Wire(1)] = False
    userNamespaces: Annotated[bool, Wire(2)] = False


class NodeFeatures(Part, frozen=True, kw_only=True):
    supplementalGroupsPolicy: Annotated[bool, Wire(1)] = False
