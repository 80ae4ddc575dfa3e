"""What is told of a pod."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.references import ResourceRequirements


class PodStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(17)] = None
    phase: Annotated[str | None, Wire(1)] = None
    conditions: Annotated[list[PodCondition] | None, Wire(2, keys=("type",))] = None
    message: Annotated[str | None, Wire(3)] = None
    reason: Annotated[str | None, Wire(4)] = None
    nominatedNodeName: Annotated[str | None, Wire(11)] = None
    hostIP: Annotated[str | None, Wire(5)] = None
    hostIPs: Annotated[list[HostIP] | None, Wire(16, merge="ip")] = None
    podIP: Annotated[str | None, Wire(6)] = None
    podIPs: Annotated[list[PodIP] | None, Wire(12, keys=("ip",))] = None
    startTime: Annotated[Time | None, Wire(7)] = None
    initContainerStatuses: Annotated[list[ContainerStatus] | None, Wire(10)] = None
    containerStatuses: Annotated[list[ContainerStatus] | None, Wire(8)] = None
    qosClass: Annotated[str | None, Wire(9)] = None
    ephemeralContainerStatuses: Annotated[list[ContainerStatus] | None, Wire(13)] = None
    resize: Annotated[str | None, Wire(14)] = None
    resourceClaimStatuses: Annotated[list[PodResourceClaimStatus] | None, Wire(15, keys=("name",))] = None
    extendedResourceClaimStatus: Annotated[PodExtendedResourceClaimStatus | None, Wire(18)] = None
    allocatedResources: Annotated[dict[str, Quantity] | None, Wire(19)] = None
    resources: Annotated[ResourceRequirements | None, Wire(20)] = None
    nodeAllocatableResourceClaimStatuses: Annotated[
        list[NodeAllocatableResourceClaimStatus] | None, Wire(21, keys=("resourceClaimName",))
    ] = None
    volumeHealth: Annotated[list[PodVolumeHealth] | None, Wire(22, keys=("name",))] = None


class PodCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    observedGeneration: Annotated[int | None, Wire(7)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(5)] = None
    message: Annotated[str | None, Wire(6)] = None


class HostIP(Part, frozen=True, kw_only=True):
    ip: Annotated[str | None, Wire(1, required=True)] = None


class PodIP(Part, frozen=True, kw_only=True):
    ip: Annotated[str | None, Wire(1, required=True)] = None


class ContainerStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    state: Annotated[ContainerState | None, Wire(2)] = None
    lastState: Annotated[ContainerState | None, Wire(3)] = None
    ready: Annotated[bool | None, Wire(4, required=True)] = None
    restartCount: Annotated[int | None, Wire(5, required=True)] = None
    image: Annotated[str | None, Wire(6, required=True)] = None
    imageID: Annotated[str | None, Wire(7, required=True)] = None
    containerID: Annotated[str | None, Wire(8)] = None
    started: Annotated[bool | None, Wire(9)] = None
    allocatedResources: Annotated[dict[str, Quantity] | None, Wire(10)] = None
    resources: Annotated[ResourceRequirements | None, Wire(11)] = None
    volumeMounts: Annotated[list[VolumeMountStatus] | None, Wire(12, keys=("mountPath",))] = None
    user: Annotated[ContainerUser | None, Wire(13)] = None
    allocatedResourcesStatus: Annotated[list[ResourceStatus] | None, Wire(14, keys=("name",))] = None
    stopSignal: Annotated[str | None, Wire(15)] = None


class ContainerState(Part, frozen=True, kw_only=True):
    waiting: Annotated[ContainerStateWaiting | None, Wire(1)] = None
    running: Annotated[ContainerStateRunning | None, Wire(2)] = None
    terminated: Annotated[ContainerStateTerminated | None, Wire(3)] = None


class ContainerStateWaiting(Part, frozen=True, kw_only=True):
    reason: Annotated[str | None, Wire(1)] = None
    message: Annotated[str | None, Wire(2)] = None


class ContainerStateRunning(Part, frozen=True, kw_only=True):
    startedAt: Annotated[Time | None, Wire(1)] = None


class ContainerStateTerminated(Part, frozen=True, kw_only=True):
    exitCode: Annotated[int | None, Wire(1, required=True)] = None
    signal: Annotated[int | None, Wire(2)] = None
    reason: Annotated[str | None, Wire(3)] = None
    message: Annotated[str | None, Wire(4)] = None
    startedAt: Annotated[Time | None, Wire(5)] = None
    finishedAt: Annotated[Time | None, Wire(6)] = None
    containerID: Annotated[str | None, Wire(7)] = None


class VolumeMountStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    mountPath: Annotated[str | None, Wire(2, required=True)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None
    recursiveReadOnly: Annotated[str | None, Wire(4)] = None
    volumeStatus: Annotated[VolumeStatus | None, Wire(5)] = None


class VolumeStatus(Part, frozen=True, kw_only=True):
    image: Annotated[ImageVolumeStatus | None, Wire(1)] = None


class ImageVolumeStatus(Part, frozen=True, kw_only=True):
    imageRef: Annotated[str | None, Wire(1)] = None


class ContainerUser(Part, frozen=True, kw_only=True):
    linux: Annotated[LinuxContainerUser | None, Wire(1)] = None


class LinuxContainerUser(Part, frozen=True, kw_only=True):
    uid: Annotated[int | None, Wire(1, required=True)] = None
    gid: Annotated[int | None, Wire(2, required=True)] = None
    supplementalGroups: Annotated[list[int] | None, Wire(3)] = None


class ResourceStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    resources: Annotated[list[ResourceHealth] | None, Wire(2, keys=("resourceID",))] = None


class ResourceHealth(Part, frozen=True, kw_only=True):
    resourceID: Annotated[str | None, Wire(1, required=True)] = None
    health: Annotated[str | None, Wire(2)] = None
    message: Annotated[str | None, Wire(6)] = None


class PodResourceClaimStatus(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    resourceClaimName: Annotated[str | None, Wire(2)] = None


class PodExtendedResourceClaimStatus(Part, frozen=True, kw_only=True):
    requestMappings: Annotated[list[ContainerExtendedResourceRequest] | None, Wire(1, required=True)] = None
    resourceClaimName: Annotated[str | None, Wire(2, required=True)] = None


class ContainerExtendedResourceRequest(Part, frozen=True, kw_only=True):
    containerName: Annotated[str | None, Wire(1, required=True)] = None
    resourceName: Annotated[str | None, Wire(2, required=True)] = None
    requestName: Annotated[str | None, Wire(3, required=True)] = None


class NodeAllocatableResourceClaimStatus(Part, frozen=True, kw_only=True):
    resourceClaimName: Annotated[str | None, Wire(1, required=True)] = None
    containers: Annotated[list[str] | None, Wire(2, is_set=True)] = None
    mapping: Annotated[list[NodeAllocatableMappedResources] | None, Wire(4, keys=("name",))] = None
    overhead: Annotated[list[NodeAllocatableOverheadResources] | None, Wire(5, keys=("name",))] = None


class NodeAllocatableMappedResources(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    quantity: Annotated[Quantity | None, Wire(2, required=True)] = None


class NodeAllocatableOverheadResources(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    perPod: Annotated[Quantity | None, Wire(2)] = None
    perContainer: Annotated[Quantity | None, Wire(3)] = None


class PodVolumeHealth(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    healthConditions: Annotated[list[VolumeHealthCondition] | None, Wire(2, keys=("status", "reason"))] = None
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None


class VolumeHealthCondition(Part, frozen=True, kw_only=True):
    status: Annotated[str | None, Wire(1, required=True)] = None
    reason: Annotated[str | None, Wire(2, required=True)] = None
    message: Annotated[str | None, Wire(3)] = None
