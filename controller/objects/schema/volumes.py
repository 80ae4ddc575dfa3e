"""Volumes of a pod."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.references import (
    KeyToPath,
    LocalObjectReference,
    ObjectFieldSelector,
    ResourceFieldSelector,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeResourceRequirements,
)


class Volume(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    hostPath: Annotated[HostPathVolumeSource | None, Wire(1, within=2)] = None
    emptyDir: Annotated[EmptyDirVolumeSource | None, Wire(2, within=2)] = None
    gcePersistentDisk: Annotated[GCEPersistentDiskVolumeSource | None, Wire(3, within=2)] = None
    awsElasticBlockStore: Annotated[AWSElasticBlockStoreVolumeSource | None, Wire(4, within=2)] = None
    gitRepo: Annotated[GitRepoVolumeSource | None, Wire(5, within=2)] = None
    secret: Annotated[SecretVolumeSource | None, Wire(6, within=2)] = None
    nfs: Annotated[NFSVolumeSource | None, Wire(7, within=2)] = None
    iscsi: Annotated[ISCSIVolumeSource | None, Wire(8, within=2)] = None
    glusterfs: Annotated[GlusterfsVolumeSource | None, Wire(9, within=2)] = None
    persistentVolumeClaim: Annotated[PersistentVolumeClaimVolumeSource | None, Wire(10, within=2)] = None
    rbd: Annotated[RBDVolumeSource | None, Wire(11, within=2)] = None
    flexVolume: Annotated[FlexVolumeSource | None, Wire(12, within=2)] = None
    cinder: Annotated[CinderVolumeSource | None, Wire(13, within=2)] = None
    cephfs: Annotated[CephFSVolumeSource | None, Wire(14, within=2)] = None
    flocker: Annotated[FlockerVolumeSource | None, Wire(15, within=2)] = None
    downwardAPI: Annotated[DownwardAPIVolumeSource | None, Wire(16, within=2)] = None
    fc: Annotated[FCVolumeSource | None, Wire(17, within=2)] = None
    azureFile: Annotated[AzureFileVolumeSource | None, Wire(18, within=2)] = None
    configMap: Annotated[ConfigMapVolumeSource | None, Wire(19, within=2)] = None
    vsphereVolume: Annotated[VsphereVirtualDiskVolumeSource | None, Wire(20, within=2)] = None
    quobyte: Annotated[QuobyteVolumeSource | None, Wire(21, within=2)] = None
    azureDisk: Annotated[AzureDiskVolumeSource | None, Wire(22, within=2)] = None
    photonPersistentDisk: Annotated[PhotonPersistentDiskVolumeSource | None, Wire(23, within=2)] = None
    projected: Annotated[ProjectedVolumeSource | None, Wire(26, within=2)] = None
    portworxVolume: Annotated[PortworxVolumeSource | None, Wire(24, within=2)] = None
    scaleIO: Annotated[ScaleIOVolumeSource | None, Wire(25, within=2)] = None
    storageos: Annotated[StorageOSVolumeSource | None, Wire(27, within=2)] = None
    csi: Annotated[CSIVolumeSource | None, Wire(28, within=2)] = None
    ephemeral: Annotated[EphemeralVolumeSource | None, Wire(29, within=2)] = None
    image: Annotated[ImageVolumeSource | None, Wire(30, within=2)] = None


class HostPathVolumeSource(Part, frozen=True, kw_only=True):
    path: Annotated[str | None, Wire(1, required=True)] = None
    type: Annotated[str | None, Wire(2)] = None


class EmptyDirVolumeSource(Part, frozen=True, kw_only=True):
    medium: Annotated[str | None, Wire(1)] = None
    sizeLimit: Annotated[Quantity | None, Wire(2)] = None
    mode: Annotated[int | None, Wire(3)] = None


class GCEPersistentDiskVolumeSource(Part, frozen=True, kw_only=True):
    pdName: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    partition: Annotated[int | None, Wire(3)] = None
    readOnly: Annotated[bool | None, Wire(4)] = None


class AWSElasticBlockStoreVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    partition: Annotated[int | None, Wire(3)] = None
    readOnly: Annotated[bool | None, Wire(4)] = None


class GitRepoVolumeSource(Part, frozen=True, kw_only=True):
    repository: Annotated[str | None, Wire(1, required=True)] = None
    revision: Annotated[str | None, Wire(2)] = None
    directory: Annotated[str | None, Wire(3)] = None


class SecretVolumeSource(Part, frozen=True, kw_only=True):
    secretName: Annotated[str | None, Wire(1)] = None
    items: Annotated[list[KeyToPath] | None, Wire(2)] = None
    defaultMode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    defaultUser: Annotated[int | None, Wire(5)] = None


class NFSVolumeSource(Part, frozen=True, kw_only=True):
    server: Annotated[str | None, Wire(1, required=True)] = None
    path: Annotated[str | None, Wire(2, required=True)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None


class ISCSIVolumeSource(Part, frozen=True, kw_only=True):
    targetPortal: Annotated[str | None, Wire(1, required=True)] = None
    iqn: Annotated[str | None, Wire(2, required=True)] = None
    lun: Annotated[int | None, Wire(3, required=True, zero_counts=True)] = None
    iscsiInterface: Annotated[str | None, Wire(4)] = None
    fsType: Annotated[str | None, Wire(5)] = None
    readOnly: Annotated[bool | None, Wire(6)] = None
    portals: Annotated[list[str] | None, Wire(7)] = None
    chapAuthDiscovery: Annotated[bool | None, Wire(8)] = None
    chapAuthSession: Annotated[bool | None, Wire(11)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(10)] = None
    initiatorName: Annotated[str | None, Wire(12)] = None


class GlusterfsVolumeSource(Part, frozen=True, kw_only=True):
    endpoints: Annotated[str | None, Wire(1, required=True)] = None
    path: Annotated[str | None, Wire(2, required=True)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None


class PersistentVolumeClaimVolumeSource(Part, frozen=True, kw_only=True):
    claimName: Annotated[str | None, Wire(1, required=True)] = None
    readOnly: Annotated[bool | None, Wire(2)] = None


class RBDVolumeSource(Part, frozen=True, kw_only=True):
    monitors: Annotated[list[str] | None, Wire(1, required=True)] = None
    image: Annotated[str | None, Wire(2, required=True)] = None
    fsType: Annotated[str | None, Wire(3)] = None
    pool: Annotated[str | None, Wire(4)] = None
    user: Annotated[str | None, Wire(5)] = None
    keyring: Annotated[str | None, Wire(6)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(7)] = None
    readOnly: Annotated[bool | None, Wire(8)] = None


class FlexVolumeSource(Part, frozen=True, kw_only=True):
    driver: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(3)] = None
    readOnly: Annotated[bool | None, Wire(4)] = None
    options: Annotated[dict[str, str] | None, Wire(5)] = None


class CinderVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(4)] = None


class CephFSVolumeSource(Part, frozen=True, kw_only=True):
    monitors: Annotated[list[str] | None, Wire(1, required=True)] = None
    path: Annotated[str | None, Wire(2)] = None
    user: Annotated[str | None, Wire(3)] = None
    secretFile: Annotated[str | None, Wire(4)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(5)] = None
    readOnly: Annotated[bool | None, Wire(6)] = None


class FlockerVolumeSource(Part, frozen=True, kw_only=True):
    datasetName: Annotated[str | None, Wire(1)] = None
    datasetUUID: Annotated[str | None, Wire(2)] = None


class DownwardAPIVolumeSource(Part, frozen=True, kw_only=True):
    items: Annotated[list[DownwardAPIVolumeFile] | None, Wire(1)] = None
    defaultMode: Annotated[int | None, Wire(2, zero_counts=True)] = None
    defaultUser: Annotated[int | None, Wire(3)] = None


class DownwardAPIVolumeFile(Part, frozen=True, kw_only=True):
    path: Annotated[str | None, Wire(1, required=True)] = None
    fieldRef: Annotated[ObjectFieldSelector | None, Wire(2)] = None
    resourceFieldRef: Annotated[ResourceFieldSelector | None, Wire(3)] = None
    mode: Annotated[int | None, Wire(4, zero_counts=True)] = None
    user: Annotated[int | None, Wire(5)] = None


class FCVolumeSource(Part, frozen=True, kw_only=True):
    targetWWNs: Annotated[list[str] | None, Wire(1)] = None
    lun: Annotated[int | None, Wire(2, zero_counts=True)] = None
    fsType: Annotated[str | None, Wire(3)] = None
    readOnly: Annotated[bool | None, Wire(4)] = None
    wwids: Annotated[list[str] | None, Wire(5)] = None


class AzureFileVolumeSource(Part, frozen=True, kw_only=True):
    secretName: Annotated[str | None, Wire(1, required=True)] = None
    shareName: Annotated[str | None, Wire(2, required=True)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None


class ConfigMapVolumeSource(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    items: Annotated[list[KeyToPath] | None, Wire(2)] = None
    defaultMode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    defaultUser: Annotated[int | None, Wire(5)] = None


class VsphereVirtualDiskVolumeSource(Part, frozen=True, kw_only=True):
    volumePath: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    storagePolicyName: Annotated[str | None, Wire(3)] = None
    storagePolicyID: Annotated[str | None, Wire(4)] = None


class QuobyteVolumeSource(Part, frozen=True, kw_only=True):
    registry: Annotated[str | None, Wire(1, required=True)] = None
    volume: Annotated[str | None, Wire(2, required=True)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None
    user: Annotated[str | None, Wire(4)] = None
    group: Annotated[str | None, Wire(5)] = None
    tenant: Annotated[str | None, Wire(6)] = None


class AzureDiskVolumeSource(Part, frozen=True, kw_only=True):
    diskName: Annotated[str | None, Wire(1, required=True)] = None
    diskURI: Annotated[str | None, Wire(2, required=True)] = None
    cachingMode: Annotated[str | None, Wire(3)] = None
    fsType: Annotated[str | None, Wire(4)] = None
    readOnly: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    kind: Annotated[str | None, Wire(6)] = None


class PhotonPersistentDiskVolumeSource(Part, frozen=True, kw_only=True):
    pdID: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None


class ProjectedVolumeSource(Part, frozen=True, kw_only=True):
    sources: Annotated[list[VolumeProjection] | None, Wire(1)] = None
    defaultMode: Annotated[int | None, Wire(2, zero_counts=True)] = None
    defaultUser: Annotated[int | None, Wire(3)] = None


class VolumeProjection(Part, frozen=True, kw_only=True):
    secret: Annotated[SecretProjection | None, Wire(1)] = None
    downwardAPI: Annotated[DownwardAPIProjection | None, Wire(2)] = None
    configMap: Annotated[ConfigMapProjection | None, Wire(3)] = None
    serviceAccountToken: Annotated[ServiceAccountTokenProjection | None, Wire(4)] = None
    clusterTrustBundle: Annotated[ClusterTrustBundleProjection | None, Wire(5)] = None
    podCertificate: Annotated[PodCertificateProjection | None, Wire(6)] = None


class SecretProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    items: Annotated[list[KeyToPath] | None, Wire(2)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class DownwardAPIProjection(Part, frozen=True, kw_only=True):
    items: Annotated[list[DownwardAPIVolumeFile] | None, Wire(1)] = None


class ConfigMapProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    items: Annotated[list[KeyToPath] | None, Wire(2)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ServiceAccountTokenProjection(Part, frozen=True, kw_only=True):
    audience: Annotated[str | None, Wire(1)] = None
    expirationSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    path: Annotated[str | None, Wire(3, required=True)] = None
    user: Annotated[int | None, Wire(4)] = None


class ClusterTrustBundleProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    signerName: Annotated[str | None, Wire(2)] = None
    labelSelector: Annotated[LabelSelector | None, Wire(3)] = None
    optional: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    path: Annotated[str | None, Wire(4, required=True)] = None
    user: Annotated[int | None, Wire(6)] = None


class PodCertificateProjection(Part, frozen=True, kw_only=True):
    signerName: Annotated[str | None, Wire(1)] = None
    keyType: Annotated[str | None, Wire(2)] = None
    maxExpirationSeconds: Annotated[int | None, Wire(3, zero_counts=True)] = None
    credentialBundlePath: Annotated[str | None, Wire(4)] = None
    keyPath: Annotated[str | None, Wire(5)] = None
    certificateChainPath: Annotated[str | None, Wire(6)] = None
    userAnnotations: Annotated[dict[str, str] | None, Wire(7)] = None
    user: Annotated[int | None, Wire(8)] = None


class PortworxVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str | None, Wire(1, required=True)] = None
    fsType: Annotated[str | None, Wire(2)] = None
    readOnly: Annotated[bool | None, Wire(3)] = None


class ScaleIOVolumeSource(Part, frozen=True, kw_only=True):
    gateway: Annotated[str | None, Wire(1, required=True)] = None
    system: Annotated[str | None, Wire(2, required=True)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(3, required=True)] = None
    sslEnabled: Annotated[bool | None, Wire(4)] = None
    protectionDomain: Annotated[str | None, Wire(5)] = None
    storagePool: Annotated[str | None, Wire(6)] = None
    storageMode: Annotated[str | None, Wire(7)] = None
    volumeName: Annotated[str | None, Wire(8)] = None
    fsType: Annotated[str | None, Wire(9)] = None
    readOnly: Annotated[bool | None, Wire(10)] = None


class StorageOSVolumeSource(Part, frozen=True, kw_only=True):
    volumeName: Annotated[str | None, Wire(1)] = None
    volumeNamespace: Annotated[str | None, Wire(2)] = None
    fsType: Annotated[str | None, Wire(3)] = None
    readOnly: Annotated[bool | None, Wire(4)] = None
    secretRef: Annotated[LocalObjectReference | None, Wire(5)] = None


class CSIVolumeSource(Part, frozen=True, kw_only=True):
    driver: Annotated[str | None, Wire(1, required=True)] = None
    readOnly: Annotated[bool | None, Wire(2, zero_counts=True)] = None
    fsType: Annotated[str | None, Wire(3)] = None
    volumeAttributes: Annotated[dict[str, str] | None, Wire(4)] = None
    nodePublishSecretRef: Annotated[LocalObjectReference | None, Wire(5)] = None


class EphemeralVolumeSource(Part, frozen=True, kw_only=True):
    volumeClaimTemplate: Annotated[PersistentVolumeClaimTemplate | None, Wire(1)] = None


class PersistentVolumeClaimTemplate(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PersistentVolumeClaimSpec | None, Wire(2, required=True)] = None


class PersistentVolumeClaimSpec(Part, frozen=True, kw_only=True):
    accessModes: Annotated[list[str] | None, Wire(1)] = None
    selector: Annotated[LabelSelector | None, Wire(4)] = None
    resources: Annotated[VolumeResourceRequirements | None, Wire(2)] = None
    volumeName: Annotated[str | None, Wire(3)] = None
    storageClassName: Annotated[str | None, Wire(5, zero_counts=True)] = None
    volumeMode: Annotated[str | None, Wire(6)] = None
    dataSource: Annotated[TypedLocalObjectReference | None, Wire(7)] = None
    dataSourceRef: Annotated[TypedObjectReference | None, Wire(8)] = None
    volumeAttributesClassName: Annotated[str | None, Wire(9)] = None


class ImageVolumeSource(Part, frozen=True, kw_only=True):
    reference: Annotated[str | None, Wire(1)] = None
    pullPolicy: Annotated[str | None, Wire(2)] = None
