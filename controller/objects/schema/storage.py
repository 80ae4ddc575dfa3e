"""Persistent volumes, and kinds of storage.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Loose, Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.references import ObjectReference
from controller.objects.schema.volumes import HostPathVolumeSource, NFSVolumeSource


class PersistentVolume(Part, frozen=True, kw_only=True):
    """A persistent volume: a place that outlives pods."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PersistentVolumeSpec | None, Wire(2)] = None
    status: Annotated[PersistentVolumeStatus | None, Wire(3)] = None


class PersistentVolumeSpec(Part, frozen=True, kw_only=True):
    """Of the sources only those are spelled out that may be taken; the others are refused by their names."""

    capacity: Annotated[dict[str, Quantity], Wire(1)] = {}
    nfs: Annotated[NFSVolumeSource | None, Wire(5, within=2)] = None
    hostPath: Annotated[HostPathVolumeSource | None, Wire(3, within=2)] = None
    gcePersistentDisk: Annotated[Loose | None, Wire(1, within=2)] = None
    awsElasticBlockStore: Annotated[Loose | None, Wire(2, within=2)] = None
    glusterfs: Annotated[Loose | None, Wire(4, within=2)] = None
    rbd: Annotated[Loose | None, Wire(6, within=2)] = None
    iscsi: Annotated[Loose | None, Wire(7, within=2)] = None
    cinder: Annotated[Loose | None, Wire(8, within=2)] = None
    cephfs: Annotated[Loose | None, Wire(9, within=2)] = None
    fc: Annotated[Loose | None, Wire(10, within=2)] = None
    flocker: Annotated[Loose | None, Wire(11, within=2)] = None
    flexVolume: Annotated[Loose | None, Wire(12, within=2)] = None
    azureFile: Annotated[Loose | None, Wire(13, within=2)] = None
    vsphereVolume: Annotated[Loose | None, Wire(14, within=2)] = None
    quobyte: Annotated[Loose | None, Wire(15, within=2)] = None
    azureDisk: Annotated[Loose | None, Wire(16, within=2)] = None
    photonPersistentDisk: Annotated[Loose | None, Wire(17, within=2)] = None
    portworxVolume: Annotated[Loose | None, Wire(18, within=2)] = None
    scaleIO: Annotated[Loose | None, Wire(19, within=2)] = None
    local: Annotated[Loose | None, Wire(20, within=2)] = None
    storageos: Annotated[Loose | None, Wire(21, within=2)] = None
    csi: Annotated[Loose | None, Wire(22, within=2)] = None
    accessModes: Annotated[tuple[str, ...], Wire(3)] = ()
    claimRef: Annotated[ObjectReference | None, Wire(4)] = None
    persistentVolumeReclaimPolicy: Annotated[str, Wire(5)] = ""
    storageClassName: Annotated[str, Wire(6)] = ""
    mountOptions: Annotated[tuple[str, ...], Wire(7)] = ()
    volumeMode: Annotated[str, Wire(8)] = ""
    nodeAffinity: Annotated[Loose | None, Wire(9)] = None
    volumeAttributesClassName: Annotated[str, Wire(10)] = ""


class PersistentVolumeStatus(Part, frozen=True, kw_only=True):
    phase: Annotated[str, Wire(1)] = ""
    message: Annotated[str, Wire(2)] = ""
    reason: Annotated[str, Wire(3)] = ""
    lastPhaseTransitionTime: Annotated[Time | None, Wire(4)] = None


class StorageClass(Part, frozen=True, kw_only=True):
    """A storage class: a sort of volumes under a name."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    provisioner: Annotated[str, Wire(2, required=True)] = ""
    parameters: Annotated[dict[str, str], Wire(3)] = {}
    reclaimPolicy: Annotated[str, Wire(4)] = ""
    mountOptions: Annotated[tuple[str, ...], Wire(5)] = ()
    allowVolumeExpansion: Annotated[bool | None, Wire(6, zero_counts=True)] = None
    volumeBindingMode: Annotated[str, Wire(7)] = ""
    allowedTopologies: Annotated[tuple[Loose, ...], Wire(8, atomic=True)] = ()
