"""Claims and volumes as rows of the table of kinds: what may be of them here, their defaults and warnings. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.objects.fields import Json, Report, quantity
from controller.objects.protection import CLAIM_PROTECTION, VOLUME_PROTECTION, protected
from controller.objects.resource import STATUS, Resource, Subresource
from controller.objects.schema import core, storage

NOBODY_MAKES_VOLUMES = (
    "nothing here makes volumes; a claim is bound to a PersistentVolume of NFS (Amazon EFS is one) that somebody made"
)
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
# What a persistent volume may be of that outlives a cell.
SOURCE = "nfs"
_SPEC = frozenset(
    ("capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions")
) | {"volumeMode", "nodeAffinity", "volumeAttributesClassName"}


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
    found = _unused(one, ("dataSource", "dataSourceRef"), "a volume is bound with what is on it")
    if (one.get("status") or {}).get("phase") != "Bound":
        found.append(f"this PersistentVolumeClaim is Pending until a volume matches it: {NOBODY_MAKES_VOLUMES}")
    return found


def _volume_warnings(one: Json) -> Sequence[str]:
    policy = one["spec"].get("persistentVolumeReclaimPolicy")
    kept = f"spec.persistentVolumeReclaimPolicy: {policy} has no effect: what is on a volume always stays"
    found = _unused(one, ("nodeAffinity",), "a cell is not chosen by its pod's volumes; chinampa.dev/zone names zones")
    return [*found, kept] if policy not in (None, "Retain") else found


def _unused(one: Json, fields: Sequence[str], why: str) -> list[str]:
    """A sentence for each of these fields, and for those of no volume here."""
    reasons = {**dict.fromkeys(fields, why), "volumeAttributesClassName": "volumes of NFS have no such attributes"}
    return [f"spec.{name}: it has no effect: {said}" for name, said in reasons.items() if one["spec"].get(name)]


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
    warnings=_volume_warnings,
    subresources=(Subresource("status", "PersistentVolume", STATUS),),
)
