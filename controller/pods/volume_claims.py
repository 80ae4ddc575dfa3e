"""Claims of a pod: which place each of them is bound to, and why one is not. Pure."""

from __future__ import annotations

from typing import NamedTuple

from cellwire.faults import Fault, Kind
from controller.objects.fields import Json
from controller.objects.schema.pods import Pod
from controller.objects.schema.volumes import PersistentVolumeClaimVolumeSource
from controller.pods.config_data import Lookup

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"


class Place(NamedTuple):
    """A folder of a file server, and how it is mounted."""

    server: str
    path: str
    options: tuple[str, ...] = ()
    read_only: bool = False


def places(pod: Pod, lookup: Lookup) -> dict[str, Place]:
    """The places of the pod's volumes that are on file servers, by volume. Raises Fault where a claim has none yet."""
    found: dict[str, Place] = {}
    for volume in pod.spec.volumes:
        if (source := volume.nfs) is not None:
            found[volume.name] = Place(source.server, source.path, (), source.readOnly)
        elif (source := volume.persistentVolumeClaim) is not None:
            found[volume.name] = _bound(pod, source, lookup)
    return found


def _bound(pod: Pod, source: PersistentVolumeClaimVolumeSource, lookup: Lookup) -> Place:
    name = source.claimName
    claim = lookup(CLAIMS, pod.metadata.namespace, name)
    if claim is None:
        raise _unbound(f'persistentvolumeclaim "{name}" not found')
    if claim["metadata"].get("deletionTimestamp"):
        raise _unbound(f'persistentvolumeclaim "{name}" is being deleted')
    at = (claim.get("spec") or {}).get("volumeName") or ""
    volume = lookup(VOLUMES, "", at) if at and (claim.get("status") or {}).get("phase") == "Bound" else None
    if volume is None:
        raise _unbound(f'pod has unbound immediate PersistentVolumeClaims: "{name}" waits for a PersistentVolume')
    spec: Json = volume["spec"]
    server: Json = spec["nfs"]
    read_only = source.readOnly or bool(server.get("readOnly"))
    return Place(server["server"], server["path"], tuple(spec.get("mountOptions") or ()), read_only)


def _unbound(cause: str) -> Fault:
    mend = "make a PersistentVolume of NFS (Amazon EFS is one) with its class, mode and size, or use emptyDir"
    return Fault(Kind.UNAVAILABLE, "volumes of the pod", cause, mend)
