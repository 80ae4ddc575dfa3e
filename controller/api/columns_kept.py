"""Columns of the kinds that are kept without effect, and of volumes, as a Kubernetes API server prints them. Pure."""

from __future__ import annotations

from typing import Any

from controller.api.columns import age_of, columns, name_of
from controller.api.printing import NONE, Column, Table
from controller.objects.fields import Json

_UNSET = "<unset>"
_MODES: dict[str, str] = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(spec: Json) -> str:
    modes: list[str] = spec.get("accessModes") or []
    return ",".join(_MODES.get(mode) or mode for mode in modes)


def _volume_phase(one: Json, usual: str) -> str:
    """How a claim or a volume is; one that only its user keeps is on its way out."""
    ending = one["metadata"].get("deletionTimestamp")
    return "Terminating" if ending else (one.get("status") or {}).get("phase", usual)


def _claim(one: Json, now: float) -> list[Any]:
    spec, status = one.get("spec") or {}, one.get("status") or {}
    bound = status.get("phase") == "Bound"
    place = [
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", ""),
        _modes(spec) if bound else "",
    ]
    kinds = [spec.get("storageClassName", ""), spec.get("volumeAttributesClassName", _UNSET)]
    return [
        name_of(one),
        _volume_phase(one, "Pending"),
        *place,
        *kinds,
        age_of(one, now),
        spec.get("volumeMode", _UNSET),
    ]


def _volume(one: Json, now: float) -> list[Any]:
    spec = one.get("spec") or {}
    held: Json = spec.get("claimRef") or {}
    claim = f"{held.get('namespace', '')}/{held.get('name', '')}" if held else ""
    size = (spec.get("capacity") or {}).get("storage", "")
    state = [_modes(spec), spec.get("persistentVolumeReclaimPolicy", ""), _volume_phase(one, ""), claim]
    kinds = [spec.get("storageClassName", ""), spec.get("volumeAttributesClassName", _UNSET)]
    reason = (one.get("status") or {}).get("reason", "")
    return [name_of(one), size, *state, *kinds, reason, age_of(one, now), spec.get("volumeMode", _UNSET)]


def _storage_class(one: Json, now: float) -> list[Any]:
    how = [one.get("reclaimPolicy", "Delete"), one.get("volumeBindingMode", "Immediate")]
    grows = bool(one.get("allowVolumeExpansion"))
    return [_marked(one, "storageclass"), one.get("provisioner", ""), *how, grows, age_of(one, now)]


def _marked(one: Json, kind: str) -> str:
    """The name of a class, and whether it is the one for what names none."""
    marks: Json = one["metadata"].get("annotations") or {}
    usual = marks.get(f"{kind}.kubernetes.io/is-default-class") == "true"
    return f"{name_of(one)} (default)" if usual else name_of(one)


def _ingress(one: Json, now: float) -> list[Any]:
    spec: Json = one.get("spec") or {}
    hosts = ",".join(rule["host"] for rule in spec.get("rules") or () if rule.get("host")) or "*"
    ports = "80, 443" if spec.get("tls") else "80"
    return [name_of(one), spec.get("ingressClassName") or NONE, hosts, "", ports, age_of(one, now)]


def _ingress_class(one: Json, now: float) -> list[Any]:
    spec: Json = one.get("spec") or {}
    named: Json = spec.get("parameters") or {}
    kind = ".".join(filter(None, (named.get("kind"), named.get("apiGroup"))))
    parameters = f"{kind}/{named.get('name', '')}" if named else NONE
    return [_marked(one, "ingressclass"), spec.get("controller", ""), parameters, age_of(one, now)]


def _autoscaler(one: Json, now: float) -> list[Any]:
    spec: Json = one.get("spec") or {}
    target: Json = spec.get("scaleTargetRef") or {}
    bounds = [
        spec.get("minReplicas", _UNSET),
        spec.get("maxReplicas"),
        (one.get("status") or {}).get("currentReplicas", 0),
    ]
    wanted = ", ".join(_target(each) for each in spec.get("metrics") or () if isinstance(each, dict)) or NONE
    return [name_of(one), f"{target.get('kind')}/{target.get('name')}", wanted, *bounds, age_of(one, now)]


def _target(metric: Json) -> str:
    """What one metric is to be; what it is nobody measures here."""
    source = next((value for value in metric.values() if isinstance(value, dict)), {})
    target: Json = source.get("target") or {}
    share = target.get("averageUtilization")
    wanted = f"{share}%" if share is not None else target.get("averageValue", target.get("value", "<auto>"))
    name = f"{source['name']}: " if source.get("name") else ""
    return f"{name}<unknown>/{wanted}"


def _priority_class(one: Json, now: float) -> list[Any]:
    usual = bool(one.get("globalDefault"))
    return [name_of(one), one.get("value", 0), usual, age_of(one, now), one.get("preemptionPolicy", "")]


def _created(one: Json, now: float) -> list[Any]:
    del now
    return [name_of(one), one["metadata"].get("creationTimestamp", "")]


def _binding(one: Json, now: float) -> list[Any]:
    role: Json = one.get("roleRef") or {}
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in one.get("subjects") or ():
        place = f"{subject.get('namespace', '')}/" if subject.get("kind") == "ServiceAccount" else ""
        found.setdefault(str(subject.get("kind")), []).append(f"{place}{subject.get('name', '')}")
    subjects = [", ".join(found[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name_of(one), f"{role.get('kind')}/{role.get('name')}", age_of(one, now), *subjects]


_CREATED = Table(columns("Name", "Created At"), _created)
_BINDING = Table(
    (*columns("Name", "Role", "Age"), *(Column(name, wide=True) for name in ("Users", "Groups", "ServiceAccounts"))),
    _binding,
)
_KINDS = ("StorageClass", "VolumeAttributesClass")
_MODE = Column("VolumeMode", wide=True)
_RBAC = "rbac.authorization.k8s.io"
KEPT_OBJECTS = {
    "persistentvolumeclaims": Table(
        (*columns("Name", "Status", "Volume", "Capacity", "Access Modes", *_KINDS, "Age"), _MODE), _claim
    ),
    "persistentvolumes": Table(
        (
            *columns("Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", *_KINDS, "Reason", "Age"),
            _MODE,
        ),
        _volume,
    ),
    "storageclasses.storage.k8s.io": Table(
        columns("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"),
        _storage_class,
    ),
    "ingresses.networking.k8s.io": Table(columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), _ingress),
    "ingressclasses.networking.k8s.io": Table(columns("Name", "Controller", "Parameters", "Age"), _ingress_class),
    "horizontalpodautoscalers.autoscaling": Table(
        columns("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"), _autoscaler
    ),
    "priorityclasses.scheduling.k8s.io": Table(
        (*columns("Name", "Value", "Global-Default", "Age"), Column("PreemptionPolicy")), _priority_class
    ),
    "limitranges": _CREATED,
    f"roles.{_RBAC}": _CREATED,
    f"clusterroles.{_RBAC}": _CREATED,
    f"rolebindings.{_RBAC}": _BINDING,
    f"clusterrolebindings.{_RBAC}": _BINDING,
}
