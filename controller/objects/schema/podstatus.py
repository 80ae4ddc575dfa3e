"""The status of a pod."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.references import ResourceRequirements


class PodStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int, Wire(17)] = 0
    phase: Annotated[str, Wire(1)] = ""
    conditions: Annotated[tuple[PodCondition, ...], Wire(2, keys=("type",))] = ()
    message: Annotated[str, Wire(3)] = ""
    reason: Annotated[str, Wire(4)] = ""
    nominatedNodeName: Annotated[str, Wire(11)] = ""
    hostIP: Annotated[str, Wire(5)] = ""
    hostIPs: Annotated[tuple[HostIP, ...], Wire(16, merge="ip")] = ()
    podIP: Annotated[str, Wire(6)] = ""
    podIPs: Annotated[tuple[PodIP, ...], Wire(12, keys=("ip",))] = ()
    startTime: Annotated[Time | None, Wire(7)] = None
    initContainerStatuses: Annotated[tuple[ContainerStatus, ...], Wire(10)] = ()
    containerStatuses: Annotated[tuple[ContainerStatus, ...], Wire(8)] = ()
    qosClass: Annotated[str, Wire(9)] = ""
    ephemeralContainerStatuses: Annotated[tuple[ContainerStatus, ...], Wire(13)] = ()
    resize: Annotated[str, Wire(14)] = ""
    resourceClaimStatuses: Annotated[tuple[PodResourceClaimStatus, ...], Wire(15, keys=("name",))] = ()
    extendedResourceClaimStatus: Annotated[PodExtendedResourceClaimStatus | None, Wire(18)] = None
    allocatedResources: Annotated[dict[str, Quantity], Wire(19)] = {}
    resources: Annotated[ResourceRequirements | None, Wire(20)] = None
    nodeAllocatableResourceClaimStatuses: Annotated[
        tuple[NodeAllocatableResourceClaimStatus, ...], Wire(21, keys=("resourceClaimName",))
    ] = ()
    volumeHealth: Annotated[tuple[PodVolumeHealth, ...], Wire(22, keys=("name",))] = ()


class PodCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    observedGeneration: Annotated[int, Wire(7)] = 0
    status: Annotated[str, Wire(2, required=True)] = ""
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str, Wire(5)] = ""
    message: Annotated[str, Wire(6)] = ""


class HostIP(Part, frozen=True, kw_only=True):
    ip: Annotated[str, Wire(1, required=True)] = ""


class PodIP(Part, frozen=True, kw_only=True):
    ip: Annotated[str, Wire(1, required=True)] = ""


class ContainerStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    state: Annotated[ContainerState | None, Wire(2)] = None
    lastState: Annotated[ContainerState | None, Wire(3)] = None
    ready: Annotated[bool, Wire(4, required=True)] = False
    restartCount: Annotated[int, Wire(5, required=True)] = 0
    image: Annotated[str, Wire(6, required=True)] = ""
    imageID: Annotated[str, Wire(7, required=True)] = ""
    containerID: Annotated[str, Wire(8)] = ""
    started: Annotated[bool, Wire(9)] = False
    allocatedResources: Annotated[dict[str, Quantity], Wire(10)] = {}
    resources: Annotated[ResourceRequirements | None, Wire(11)] = None
    volumeMounts: Annotated[tuple[VolumeMountStatus, ...], Wire(12, keys=("mountPath",))] = ()
    user: Annotated[ContainerUser | None, Wire(13)] = None
    allocatedResourcesStatus: Annotated[tuple[ResourceStatus, ...], Wire(14, keys=("name",))] = ()
    stopSignal: Annotated[str, Wire(15)] = ""


class ContainerState(Part, frozen=True, kw_only=True):
    waiting: Annotated[ContainerStateWaiting | None, Wire(1)] = None
    running: Annotated[ContainerStateRunning | None, Wire(2)] = None
    terminated: Annotated[ContainerStateTerminated | None, Wire(3)] = None


class ContainerStateWaiting(Part, frozen=True, kw_only=True):
    reason: Annotated[str, Wire(1)] = ""
    message: Annotated[str, Wire(2)] = ""


class ContainerStateRunning(Part, frozen=True, kw_only=True):
    startedAt: Annotated[Time | None, Wire(1)] = None


class ContainerStateTerminated(Part, frozen=True, kw_only=True):
    exitCode: Annotated[int, Wire(1, required=True)] = 0
    signal: Annotated[int, Wire(2)] = 0
    reason: Annotated[str, Wire(3)] = ""
    message: Annotated[str, Wire(4)] = ""
    startedAt: Annotated[Time | None, Wire(5)] = None
    finishedAt: Annotated[Time | None, Wire(6)] = None
    containerID: Annotated[str, Wire(7)] = ""


class VolumeMountStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    mountPath: Annotated[str, Wire(2, required=True)] = ""
    readOnly: Annotated[bool, Wire(3)] = False
    recursiveReadOnly: Annotated[str, Wire(4)] = ""
    volumeStatus: Annotated[VolumeStatus | None, Wire(5)] = None


class VolumeStatus(Part, frozen=True, kw_only=True):
    image: Annotated[ImageVolumeStatus | None, Wire(1)] = None


class ImageVolumeStatus(Part, frozen=True, kw_only=True):
    imageRef: Annotated[str, Wire(1)] = ""


class ContainerUser(Part, frozen=True, kw_only=True):
    linux: Annotated[LinuxContainerUser | None, Wire(1)] = None


class LinuxContainerUser(Part, frozen=True, kw_only=True):
    uid: Annotated[int, Wire(1, required=True)] = 0
    gid: Annotated[int, Wire(2, required=True)] = 0
    supplementalGroups: Annotated[tuple[int, ...], Wire(3)] = ()


class ResourceStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    resources: Annotated[tuple[ResourceHealth, ...], Wire(2, keys=("resourceID",))] = ()


class ResourceHealth(Part, frozen=True, kw_only=True):
    resourceID: Annotated[str, Wire(1, required=True)] = ""
    health: Annotated[str, Wire(2)] = ""
    message: Annotated[str, Wire(6)] = ""


class PodResourceClaimStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    resourceClaimName: Annotated[str, Wire(2)] = ""


class PodExtendedResourceClaimStatus(Part, frozen=True, kw_only=True):
    requestMappings: Annotated[tuple[ContainerExtendedResourceRequest, ...], Wire(1, required=True)] = ()
    resourceClaimName: Annotated[str, Wire(2, required=True)] = ""


class ContainerExtendedResourceRequest(Part, frozen=True, kw_only=True):
    containerName: Annotated[str, Wire(1, required=True)] = ""
    resourceName: Annotated[str, Wire(2, required=True)] = ""
    requestName: Annotated[str, Wire(3, required=True)] = ""


class NodeAllocatableResourceClaimStatus(Part, frozen=True, kw_only=True):
    resourceClaimName: Annotated[str, Wire(1, required=True)] = ""
    containers: Annotated[tuple[str, ...], Wire(2, is_set=True)] = ()
    mapping: Annotated[tuple[NodeAllocatableMappedResources, ...], Wire(4, keys=("name",))] = ()
    overhead: Annotated[tuple[NodeAllocatableOverheadResources, ...], Wire(5, keys=("name",))] = ()


class NodeAllocatableMappedResources(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    quantity: Annotated[Quantity | None, Wire(2, required=True)] = None


class NodeAllocatableOverheadResources(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    perPod: Annotated[Quantity | None, Wire(2)] = None
    perContainer: Annotated[Quantity | None, Wire(3)] = None


class PodVolumeHealth(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    healthConditions: Annotated[tuple[VolumeHealthCondition, ...], Wire(2, keys=("status", "reason"))] = ()
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None


class VolumeHealthCondition(Part, frozen=True, kw_only=True):
    status: Annotated[str, Wire(1, required=True)] = ""
    reason: Annotated[str, Wire(2, required=True)] = ""
    message: Annotated[str, Wire(3)] = ""
