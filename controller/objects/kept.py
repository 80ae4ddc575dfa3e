"""Kinds that whole applications bring along: kept, and said aloud where nothing comes of them. Pure.

What is refused would end `kubectl apply` of all the rest with an error; what is kept in silence would pass for done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.objects.fields import Json, Report, quantity
from controller.objects.protection import CLAIM_PROTECTION, VOLUME_PROTECTION, protected
from controller.objects.resource import STATUS, Resource, Subresource
from controller.objects.schema import coordination, core, networking, storage

_KEPT = "is kept, and has no effect here"
_DOORS = "nothing opens a door to the outside; dial a Service by its name from a pod, or use kubectl port-forward"
_MADE = (
    "nothing here makes volumes; a claim is bound to a PersistentVolume of NFS (Amazon EFS is one) that somebody made"
)
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
# What a persistent volume may be of that outlives a cell.
SOURCE = "nfs"
_SPEC = frozenset(
    ("capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions")
) | {"volumeMode", "nodeAffinity", "volumeAttributesClassName"}


def _says(sentence: str) -> Callable[[Json], Sequence[str]]:
    return lambda _one: (sentence,)


def _volume(one: Json, before: Json | None, report: Report) -> None:
    spec: Json = one.get("spec") or {}
    quantity((spec.get("capacity") or {}).get("storage"), "spec.capacity[storage]", report)
    _modes(spec, report)
    given = [name for name, value in spec.items() if name not in _SPEC and value is not None]
    if not given:
        report.required("spec", "must specify a volume type")
    for name in given:
        if name != SOURCE:
            why = "a cell cannot mount it, or it would go with the cell"
            report.forbidden(f"spec.{name}", f"chinampa cannot honour this volume: {why}; it can honour {SOURCE}")
    if before is not None and before["spec"].get(SOURCE) != spec.get(SOURCE):
        report.forbidden(f"spec.{SOURCE}", "is immutable after creation")


def _modes(spec: Json, report: Report) -> None:
    if not spec.get("accessModes"):
        report.required("spec.accessModes")
    for index, mode in enumerate(spec.get("accessModes") or ()):
        if mode not in MODES:
            report.unsupported(f"spec.accessModes[{index}]", mode, MODES)
    if spec.get("volumeMode") == "Block":
        report.forbidden("spec.volumeMode", "chinampa cannot honour this field: there are no block volumes")


def check_claim(spec: Json, field: str, report: Report) -> None:
    """Report what may not be in the spec of a claim that is at `field`."""
    own = Report()
    _modes(spec, own)
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is None:
        own.required("spec.resources[storage]")
    else:
        quantity(asked, "spec.resources.requests[storage]", own)
    for cause in own.causes:
        path = f"{field}{cause.field.removeprefix('spec')}"
        report.causes.append(type(cause)(path, cause.reason, cause.message))


def _claim(one: Json, before: Json | None, report: Report) -> None:
    spec: Json = one.get("spec") or {}
    check_claim(spec, "spec", report)
    old: Json = (before or {}).get("spec") or {}
    for name in ("accessModes", "selector", "storageClassName"):
        if before is not None and old.get(name) != spec.get(name):
            report.forbidden(f"spec.{name}", "spec is immutable after creation except resources.requests")
    if old.get("volumeName") and old["volumeName"] != spec.get("volumeName"):
        report.forbidden("spec.volumeName", "spec is immutable after creation except resources.requests")


def _claim_filled(one: Json) -> Json:
    spec: Json = {"volumeMode": "Filesystem", **(one.get("spec") or {})}
    return protected({**one, "spec": spec, "status": one.get("status") or {"phase": "Pending"}}, CLAIM_PROTECTION)


def _volume_filled(one: Json) -> Json:
    usual = {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"}
    status: Json = one.get("status") or {"phase": "Available"}
    return protected({**one, "spec": {**usual, **one["spec"]}, "status": status}, VOLUME_PROTECTION)


def _claim_warnings(one: Json) -> Sequence[str]:
    bound = (one.get("status") or {}).get("phase") == "Bound"
    return () if bound else (f"this PersistentVolumeClaim is Pending until a volume matches it: {_MADE}",)


CLAIMS = Resource(
    name="persistentvolumeclaims",
    kind="PersistentVolumeClaim",
    type=core.PersistentVolumeClaim,
    short=("pvc",),
    check=_claim,
    defaults=_claim_filled,
    warnings=_claim_warnings,
    subresources=(Subresource("status", "PersistentVolumeClaim", STATUS),),
)
VOLUMES = Resource(
    name="persistentvolumes",
    kind="PersistentVolume",
    type=storage.PersistentVolume,
    namespaced=False,
    short=("pv",),
    check=_volume,
    defaults=_volume_filled,
    subresources=(Subresource("status", "PersistentVolume", STATUS),),
)
STORAGE_CLASSES = Resource(
    name="storageclasses",
    kind="StorageClass",
    type=storage.StorageClass,
    group="storage.k8s.io",
    namespaced=False,
    short=("sc",),
    warnings=_says(f"this StorageClass {_KEPT} but as a name that claims and volumes share: {_MADE}"),
)
INGRESSES = Resource(
    name="ingresses",
    kind="Ingress",
    type=networking.Ingress,
    group="networking.k8s.io",
    short=("ing",),
    generation=True,
    warnings=_says(f"this Ingress {_KEPT}: {_DOORS}"),
    subresources=(Subresource("status", "Ingress", STATUS),),
)
INGRESS_CLASSES = Resource(
    name="ingressclasses",
    kind="IngressClass",
    type=networking.IngressClass,
    group="networking.k8s.io",
    namespaced=False,
    generation=True,
    warnings=_says(f"this IngressClass {_KEPT}: {_DOORS}"),
)
AUTOSCALERS = Resource(
    name="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    type=coordination.HorizontalPodAutoscaler,
    group="autoscaling",
    version="v2",
    short=("hpa",),
    warnings=_says(
        f"this HorizontalPodAutoscaler {_KEPT}: nothing scales by it; use kubectl scale, from a CronJob too"
    ),
    subresources=(Subresource("status", "HorizontalPodAutoscaler", STATUS),),
)
LIMIT_RANGES = Resource(
    name="limitranges",
    kind="LimitRange",
    type=core.LimitRange,
    short=("limits",),
    warnings=_says(f"this LimitRange {_KEPT}: no container gets a size of it, and none is refused for it"),
)
LEASES = Resource(name="leases", kind="Lease", type=coordination.Lease, group="coordination.k8s.io")
BROUGHT = (*(CLAIMS, VOLUMES, STORAGE_CLASSES, INGRESSES, INGRESS_CLASSES, AUTOSCALERS, LIMIT_RANGES, LEASES),)
