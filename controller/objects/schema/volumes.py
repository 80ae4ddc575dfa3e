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
    name: Annotated[str, Wire(1, required=True)] = ""
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
    path: Annotated[str, Wire(1, required=True)] = ""
    type: Annotated[str, Wire(2)] = ""


class EmptyDirVolumeSource(Part, frozen=True, kw_only=True):
    medium: Annotated[str, Wire(1)] = ""
    sizeLimit: Annotated[Quantity | None, Wire(2)] = None
    mode: Annotated[int, Wire(3)] = 0


class GCEPersistentDiskVolumeSource(Part, frozen=True, kw_only=True):
    pdName: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    partition: Annotated[int, Wire(3)] = 0
    readOnly: Annotated[bool, Wire(4)] = False


class AWSElasticBlockStoreVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    partition: Annotated[int, Wire(3)] = 0
    readOnly: Annotated[bool, Wire(4)] = False


class GitRepoVolumeSource(Part, frozen=True, kw_only=True):
    repository: Annotated[str, Wire(1, required=True)] = ""
    revision: Annotated[str, Wire(2)] = ""
    directory: Annotated[str, Wire(3)] = ""


class SecretVolumeSource(Part, frozen=True, kw_only=True):
    secretName: Annotated[str, Wire(1)] = ""
    items: Annotated[tuple[KeyToPath, ...], Wire(2)] = ()
    defaultMode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    defaultUser: Annotated[int, Wire(5)] = 0


class NFSVolumeSource(Part, frozen=True, kw_only=True):
    server: Annotated[str, Wire(1, required=True)] = ""
    path: Annotated[str, Wire(2, required=True)] = ""
    readOnly: Annotated[bool, Wire(3)] = False


class ISCSIVolumeSource(Part, frozen=True, kw_only=True):
    targetPortal: Annotated[str, Wire(1, required=True)] = ""
    iqn: Annotated[str, Wire(2, required=True)] = ""
    lun: Annotated[int | None, Wire(3, required=True, zero_counts=True)] = None
    iscsiInterface: Annotated[str, Wire(4)] = ""
    fsType: Annotated[str, Wire(5)] = ""
    readOnly: Annotated[bool, Wire(6)] = False
    portals: Annotated[tuple[str, ...], Wire(7)] = ()
    chapAuthDiscovery: Annotated[bool, Wire(8)] = False
    chapAuthSession: Annotated[bool, Wire(11)] = False
    secretRef: Annotated[LocalObjectReference | None, Wire(10)] = None
    initiatorName: Annotated[str, Wire(12)] = ""


class GlusterfsVolumeSource(Part, frozen=True, kw_only=True):
    endpoints: Annotated[str, Wire(1, required=True)] = ""
    path: Annotated[str, Wire(2, required=True)] = ""
    readOnly: Annotated[bool, Wire(3)] = False


class PersistentVolumeClaimVolumeSource(Part, frozen=True, kw_only=True):
    claimName: Annotated[str, Wire(1, required=True)] = ""
    readOnly: Annotated[bool, Wire(2)] = False


class RBDVolumeSource(Part, frozen=True, kw_only=True):
    monitors: Annotated[tuple[str, ...], Wire(1, required=True)] = ()
    image: Annotated[str, Wire(2, required=True)] = ""
    fsType: Annotated[str, Wire(3)] = ""
    pool: Annotated[str, Wire(4)] = ""
    user: Annotated[str, Wire(5)] = ""
    keyring: Annotated[str, Wire(6)] = ""
    secretRef: Annotated[LocalObjectReference | None, Wire(7)] = None
    readOnly: Annotated[bool, Wire(8)] = False


class FlexVolumeSource(Part, frozen=True, kw_only=True):
    driver: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    secretRef: Annotated[LocalObjectReference | None, Wire(3)] = None
    readOnly: Annotated[bool, Wire(4)] = False
    options: Annotated[dict[str, str], Wire(5)] = {}


class CinderVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    readOnly: Annotated[bool, Wire(3)] = False
    secretRef: Annotated[LocalObjectReference | None, Wire(4)] = None


class CephFSVolumeSource(Part, frozen=True, kw_only=True):
    monitors: Annotated[tuple[str, ...], Wire(1, required=True)] = ()
    path: Annotated[str, Wire(2)] = ""
    user: Annotated[str, Wire(3)] = ""
    secretFile: Annotated[str, Wire(4)] = ""
    secretRef: Annotated[LocalObjectReference | None, Wire(5)] = None
    readOnly: Annotated[bool, Wire(6)] = False


class FlockerVolumeSource(Part, frozen=True, kw_only=True):
    datasetName: Annotated[str, Wire(1)] = ""
    datasetUUID: Annotated[str, Wire(2)] = ""


class DownwardAPIVolumeSource(Part, frozen=True, kw_only=True):
    items: Annotated[tuple[DownwardAPIVolumeFile, ...], Wire(1)] = ()
    defaultMode: Annotated[int | None, Wire(2, zero_counts=True)] = None
    defaultUser: Annotated[int, Wire(3)] = 0


class DownwardAPIVolumeFile(Part, frozen=True, kw_only=True):
    path: Annotated[str, Wire(1, required=True)] = ""
    fieldRef: Annotated[ObjectFieldSelector | None, Wire(2)] = None
    resourceFieldRef: Annotated[ResourceFieldSelector | None, Wire(3)] = None
    mode: Annotated[int | None, Wire(4, zero_counts=True)] = None
    user: Annotated[int, Wire(5)] = 0


class FCVolumeSource(Part, frozen=True, kw_only=True):
    targetWWNs: Annotated[tuple[str, ...], Wire(1)] = ()
    lun: Annotated[int | None, Wire(2, zero_counts=True)] = None
    fsType: Annotated[str, Wire(3)] = ""
    readOnly: Annotated[bool, Wire(4)] = False
    wwids: Annotated[tuple[str, ...], Wire(5)] = ()


class AzureFileVolumeSource(Part, frozen=True, kw_only=True):
    secretName: Annotated[str, Wire(1, required=True)] = ""
    shareName: Annotated[str, Wire(2, required=True)] = ""
    readOnly: Annotated[bool, Wire(3)] = False


class ConfigMapVolumeSource(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    items: Annotated[tuple[KeyToPath, ...], Wire(2)] = ()
    defaultMode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    defaultUser: Annotated[int, Wire(5)] = 0


class VsphereVirtualDiskVolumeSource(Part, frozen=True, kw_only=True):
    volumePath: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    storagePolicyName: Annotated[str, Wire(3)] = ""
    storagePolicyID: Annotated[str, Wire(4)] = ""


class QuobyteVolumeSource(Part, frozen=True, kw_only=True):
    registry: Annotated[str, Wire(1, required=True)] = ""
    volume: Annotated[str, Wire(2, required=True)] = ""
    readOnly: Annotated[bool, Wire(3)] = False
    user: Annotated[str, Wire(4)] = ""
    group: Annotated[str, Wire(5)] = ""
    tenant: Annotated[str, Wire(6)] = ""


class AzureDiskVolumeSource(Part, frozen=True, kw_only=True):
    diskName: Annotated[str, Wire(1, required=True)] = ""
    diskURI: Annotated[str, Wire(2, required=True)] = ""
    cachingMode: Annotated[str, Wire(3)] = ""
    fsType: Annotated[str, Wire(4)] = ""
    readOnly: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    kind: Annotated[str, Wire(6)] = ""


class PhotonPersistentDiskVolumeSource(Part, frozen=True, kw_only=True):
    pdID: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""


class ProjectedVolumeSource(Part, frozen=True, kw_only=True):
    sources: Annotated[tuple[VolumeProjection, ...], Wire(1)] = ()
    defaultMode: Annotated[int | None, Wire(2, zero_counts=True)] = None
    defaultUser: Annotated[int, Wire(3)] = 0


class VolumeProjection(Part, frozen=True, kw_only=True):
    secret: Annotated[SecretProjection | None, Wire(1)] = None
    downwardAPI: Annotated[DownwardAPIProjection | None, Wire(2)] = None
    configMap: Annotated[ConfigMapProjection | None, Wire(3)] = None
    serviceAccountToken: Annotated[ServiceAccountTokenProjection | None, Wire(4)] = None
    clusterTrustBundle: Annotated[ClusterTrustBundleProjection | None, Wire(5)] = None
    podCertificate: Annotated[PodCertificateProjection | None, Wire(6)] = None


class SecretProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    items: Annotated[tuple[KeyToPath, ...], Wire(2)] = ()
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class DownwardAPIProjection(Part, frozen=True, kw_only=True):
    items: Annotated[tuple[DownwardAPIVolumeFile, ...], Wire(1)] = ()


class ConfigMapProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    items: Annotated[tuple[KeyToPath, ...], Wire(2)] = ()
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ServiceAccountTokenProjection(Part, frozen=True, kw_only=True):
    audience: Annotated[str, Wire(1)] = ""
    expirationSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    path: Annotated[str, Wire(3, required=True)] = ""
    user: Annotated[int, Wire(4)] = 0


class ClusterTrustBundleProjection(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    signerName: Annotated[str, Wire(2)] = ""
    labelSelector: Annotated[LabelSelector | None, Wire(3)] = None
    optional: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    path: Annotated[str, Wire(4, required=True)] = ""
    user: Annotated[int, Wire(6)] = 0


class PodCertificateProjection(Part, frozen=True, kw_only=True):
    signerName: Annotated[str, Wire(1)] = ""
    keyType: Annotated[str, Wire(2)] = ""
    maxExpirationSeconds: Annotated[int | None, Wire(3, zero_counts=True)] = None
    credentialBundlePath: Annotated[str, Wire(4)] = ""
    keyPath: Annotated[str, Wire(5)] = ""
    certificateChainPath: Annotated[str, Wire(6)] = ""
    userAnnotations: Annotated[dict[str, str], Wire(7)] = {}
    user: Annotated[int, Wire(8)] = 0


class PortworxVolumeSource(Part, frozen=True, kw_only=True):
    volumeID: Annotated[str, Wire(1, required=True)] = ""
    fsType: Annotated[str, Wire(2)] = ""
    readOnly: Annotated[bool, Wire(3)] = False


class ScaleIOVolumeSource(Part, frozen=True, kw_only=True):
    gateway: Annotated[str, Wire(1, required=True)] = ""
    system: Annotated[str, Wire(2, required=True)] = ""
    secretRef: Annotated[LocalObjectReference | None, Wire(3, required=True)] = None
    sslEnabled: Annotated[bool, Wire(4)] = False
    protectionDomain: Annotated[str, Wire(5)] = ""
    storagePool: Annotated[str, Wire(6)] = ""
    storageMode: Annotated[str, Wire(7)] = ""
    volumeName: Annotated[str, Wire(8)] = ""
    fsType: Annotated[str, Wire(9)] = ""
    readOnly: Annotated[bool, Wire(10)] = False


class StorageOSVolumeSource(Part, frozen=True, kw_only=True):
    volumeName: Annotated[str, Wire(1)] = ""
    volumeNamespace: Annotated[str, Wire(2)] = ""
    fsType: Annotated[str, Wire(3)] = ""
    readOnly: Annotated[bool, Wire(4)] = False
    secretRef: Annotated[LocalObjectReference | None, Wire(5)] = None


class CSIVolumeSource(Part, frozen=True, kw_only=True):
    driver: Annotated[str, Wire(1, required=True)] = ""
    readOnly: Annotated[bool | None, Wire(2, zero_counts=True)] = None
    fsType: Annotated[str, Wire(3)] = ""
    volumeAttributes: Annotated[dict[str, str], Wire(4)] = {}
    nodePublishSecretRef: Annotated[LocalObjectReference | None, Wire(5)] = None


class EphemeralVolumeSource(Part, frozen=True, kw_only=True):
    volumeClaimTemplate: Annotated[PersistentVolumeClaimTemplate | None, Wire(1)] = None


class PersistentVolumeClaimTemplate(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PersistentVolumeClaimSpec | None, Wire(2, required=True)] = None


class PersistentVolumeClaimSpec(Part, frozen=True, kw_only=True):
    accessModes: Annotated[tuple[str, ...], Wire(1)] = ()
    selector: Annotated[LabelSelector | None, Wire(4)] = None
    resources: Annotated[VolumeResourceRequirements | None, Wire(2)] = None
    volumeName: Annotated[str, Wire(3)] = ""
    storageClassName: Annotated[str | None, Wire(5, zero_counts=True)] = None
    volumeMode: Annotated[str, Wire(6)] = ""
    dataSource: Annotated[TypedLocalObjectReference | None, Wire(7)] = None
    dataSourceRef: Annotated[TypedObjectReference | None, Wire(8)] = None
    volumeAttributesClassName: Annotated[str, Wire(9)] = ""


class ImageVolumeSource(Part, frozen=True, kw_only=True):
    reference: Annotated[str, Wire(1)] = ""
    pullPolicy: Annotated[str, Wire(2)] = ""
