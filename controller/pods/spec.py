"""Admission: is this manifest a pod that can be run exactly as it says? Pure.

Every fault is reported at once, with the path of its field; what Kubernetes knows and this engine cannot honour yet
is refused by name and never ignored.
"""

from __future__ import annotations

import re
from typing import Any, cast

from cellwire.faults import Fault
from controller.choice import requirements
from controller.choice.demand import GPU_VENDORS
from controller.objects.fields import (
    Cause,
    Check,
    Json,
    Report,
    absolute,
    anything,
    boolean,
    dns_label,
    dns_name,
    integer,
    items,
    just_one,
    labels,
    one_of,
    only,
    quantity,
    record,
    refused,
    text,
    texts_by_name,
)
from controller.pods import container_spec, defaults
from controller.pods.container_spec import (
    EPHEMERAL,
    RESOURCE_REF,
    SECCOMP,
    SELINUX,
    USER_ID,
    WHOLE_FIELD_REF,
    WINDOWS,
    init_container,
    main_container,
)
from controller.pods.translate import MEMORY

_NO_SCHEDULER = "every pod gets a cell of its own; there is nothing to schedule among"
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")


def _sysctl_name(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or not _SYSCTL.fullmatch(value):
        report.invalid(field, value, "must be the name of a sysctl")


_POD_SECURITY = record(
    {
        "appArmorProfile": SECCOMP,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": one_of("OnRootMismatch", "Always"),
        "runAsGroup": USER_ID,
        "runAsNonRoot": boolean,
        "runAsUser": USER_ID,
        "seLinuxChangePolicy": one_of("MountOption", "Recursive"),
        "seLinuxOptions": SELINUX,
        "seccompProfile": SECCOMP,
        "supplementalGroups": items(USER_ID),
        "supplementalGroupsPolicy": one_of("Merge", "Strict"),
        "sysctls": items(record({"name": _sysctl_name, "value": text}, required=("name", "value")), key="name"),
        "windowsOptions": WINDOWS,
    }
)

_EMPTY_DIR = record({"medium": one_of("", MEMORY), "sizeLimit": quantity})
_MODE = integer(0, 0o777)


def _inner_path(value: object, field: str, report: Report) -> None:
    """The path of a file below its volume."""
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in value.split("/"):
        report.invalid(field, value, "must be a relative path that does not climb")


_ITEMS = items(record({"key": text, "path": _inner_path, "mode": _MODE}, required=("key", "path")))
_DOWNWARD_ITEM = record(
    {"path": _inner_path, "mode": _MODE, "fieldRef": WHOLE_FIELD_REF, "resourceFieldRef": RESOURCE_REF},
    required=("path",),
)
_DOWNWARD_ITEMS = items(just_one(_DOWNWARD_ITEM, "fieldRef", "resourceFieldRef"))
_PROJECTIONS: dict[str, Check] = {
    "configMap": record({"name": text, "items": _ITEMS, "optional": boolean}),
    "secret": record({"name": text, "items": _ITEMS, "optional": boolean}),
    "downwardAPI": record({"items": _DOWNWARD_ITEMS}),
    "serviceAccountToken": record(
        {"path": _inner_path, "audience": text, "expirationSeconds": integer(600, 2**32)}, required=("path",)
    ),
    "clusterTrustBundle": refused("there are no trust bundles"),
    "podCertificate": refused("there are no pod certificates"),
}


def _reference(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or not value or value != value.strip():
        report.invalid(field, value, "must be the name of an image, without leading or trailing whitespace")


_HOST_TYPES = ("", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice")
_VOLUME_KINDS: dict[str, Check] = {
    "emptyDir": _EMPTY_DIR,
    "hostPath": record({"path": absolute, "type": one_of(*_HOST_TYPES)}, required=("path",)),
    "configMap": record({"name": text, "items": _ITEMS, "optional": boolean, "defaultMode": _MODE}, required=("name",)),
    "secret": record(
        {"secretName": text, "items": _ITEMS, "optional": boolean, "defaultMode": _MODE}, required=("secretName",)
    ),
    "downwardAPI": record({"items": _DOWNWARD_ITEMS, "defaultMode": _MODE}),
    "projected": record({"sources": items(record(_PROJECTIONS)), "defaultMode": _MODE}),
    "image": record(
        {"reference": _reference, "pullPolicy": one_of("Always", "IfNotPresent", "Never")}, required=("reference",)
    ),
    "nfs": record({"server": text, "path": absolute, "readOnly": boolean}, required=("server", "path")),
    "persistentVolumeClaim": record({"claimName": dns_name, "readOnly": boolean}, required=("claimName",)),
}
_REFUSED_KINDS = {
    **dict.fromkeys(
        (
            *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume"),
            *("flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "iscsi"),
            *("photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
        ),
        "there is nothing here that could mount it",
    ),
    "ephemeral": "nothing here makes volumes; use emptyDir for what goes with the pod",
}


def _unavailable(why: str) -> Check:
    def check(value: object, field: str, report: Report) -> None:
        del value
        kinds = ", ".join(_VOLUME_KINDS)
        report.forbidden(field, f"chinampa cannot honour this volume: {why}; it can honour {kinds}")

    return check


_VOLUME_SHAPE = record(
    {
        "name": dns_label,
        **_VOLUME_KINDS,
        **{kind: _unavailable(why) for kind, why in _REFUSED_KINDS.items()},
    },
    required=("name",),
)


def _volume(value: object, field: str, report: Report) -> None:
    _VOLUME_SHAPE(value, field, report)
    if isinstance(value, dict):
        given = [name for name, member in cast("Json", value).items() if name != "name" and member is not None]
        if len(given) > 1:
            report.forbidden(f"{field}.{given[1]}", "may not specify more than 1 volume type")


_SELECTABLE: dict[str, Check] = {
    "kubernetes.io/arch": one_of("amd64", "arm64"),
    "kubernetes.io/os": only("linux"),
    "beta.kubernetes.io/os": only("linux"),
}


def _node_selector(value: object, field: str, report: Report) -> None:
    texts_by_name(value, field, report)
    if isinstance(value, dict):
        for name, member in cast("Json", value).items():
            if name in _SELECTABLE:
                _SELECTABLE[name](member, f"{field}.{name}", report)


_DNS_CONFIG = record(
    {
        "nameservers": items(text),
        "options": items(record({"name": text, "value": text}, required=("name",))),
        "searches": items(text),
    }
)

# They permit, and nothing here forbids.
_TOLERATION = record(
    {"effect": text, "key": text, "operator": text, "tolerationSeconds": integer(-(2**62)), "value": text}
)


def _account(value: object, field: str, report: Report) -> None:
    """The name of a service account, or none at all."""
    if value != "":
        dns_name(value, field, report)


_SPEC = record(
    {
        "activeDeadlineSeconds": integer(1, 2**31 - 1),
        "affinity": anything,
        "automountServiceAccountToken": boolean,
        "containers": items(main_container, key="name"),
        "dnsConfig": _DNS_CONFIG,
        "dnsPolicy": one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "enableServiceLinks": boolean,
        "ephemeralContainers": items(EPHEMERAL, key="name"),
        "hostAliases": items(record({"hostnames": items(dns_name), "ip": text}, required=("ip",)), key="ip"),
        "hostIPC": boolean,
        "hostNetwork": boolean,
        "hostPID": boolean,
        "hostUsers": only(True),  # noqa: FBT003 - the value of a field, not a switch
        "hostname": dns_label,
        "hostnameOverride": refused(),
        "imagePullSecrets": items(record({"name": text})),
        "initContainers": items(init_container, key="name"),
        "nodeName": text,
        "nodeSelector": _node_selector,
        "os": record({"name": only("linux")}, required=("name",)),
        "overhead": refused("the overhead of a cell is known to the controller"),
        "preemptionPolicy": one_of("PreemptLowerPriority", "Never"),
        "priority": anything,
        "priorityClassName": text,
        "readinessGates": refused(),
        "resourceClaims": refused(),
        "resources": record({"limits": anything, "requests": anything, "claims": refused()}),
        "restartPolicy": one_of("Always", "OnFailure", "Never"),
        "runtimeClassName": text,
        "schedulerName": text,
        "schedulingGates": refused(_NO_SCHEDULER),
        "securityContext": _POD_SECURITY,
        "serviceAccount": _account,
        "serviceAccountName": _account,
        "setHostnameAsFQDN": boolean,
        "shareProcessNamespace": boolean,
        "subdomain": dns_label,
        "terminationGracePeriodSeconds": integer(0, 2**31 - 1),
        "tolerations": items(_TOLERATION),
        "topologySpreadConstraints": anything,
        "volumes": items(_volume, key="name"),
        "workloadRef": refused(),
    },
    required=("containers",),
)

_METADATA = record(
    {
        "annotations": texts_by_name,
        "creationTimestamp": anything,
        "deletionGracePeriodSeconds": anything,
        "deletionTimestamp": anything,
        "finalizers": anything,
        "generateName": text,
        "generation": anything,
        "labels": labels,
        "managedFields": anything,
        "name": dns_name,
        "namespace": dns_label,
        "ownerReferences": anything,
        "resourceVersion": anything,
        "selfLink": anything,
        "uid": anything,
    }
)

_POD = record(
    {"apiVersion": only("v1"), "kind": only("Pod"), "metadata": _METADATA, "spec": _SPEC, "status": anything},
    required=("metadata", "spec"),
)


def check(manifest: Json, report: Report) -> None:
    """Report everything for which this manifest cannot be run as it says."""
    _POD(manifest, "", report)
    _annotations(manifest, report)
    if not report.causes:
        _cross_check(manifest["spec"], report)


def check_template(template: Json, field: str, report: Report) -> None:
    """The same for a pod's template that is at `field` of another object."""
    own = Report()
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value is not None}
    check({"metadata": metadata, "spec": template.get("spec")}, own)
    report.causes += [Cause(f"{field}.{one.field}", one.reason, one.message) for one in own.causes]


def _annotations(manifest: Json, report: Report) -> None:
    """Every annotation of ours that cannot be read, not the first one only."""
    given = (manifest.get("metadata") or {}).get("annotations") or {}
    for name, value in given.items():
        if name.startswith(requirements.PREFIX):
            try:
                requirements.read({name: value})
                requirements.of_demand({name: value})
            except Fault as fault:
                told = f"{fault.cause}; {fault.mend}" if fault.mend else fault.cause
                report.invalid(f"metadata.annotations[{name}]", value, told)
    if f"{requirements.PREFIX}gpu-name" in given and isinstance(manifest.get("spec"), dict):
        asked = [
            name
            for container in (manifest["spec"].get("containers") or ())
            for part in (container.get("resources") or {}).values()
            if isinstance(part, dict)
            for name in cast("Json", part)
        ]
        if not any(name in GPU_VENDORS for name in asked):
            why = f"no container asks for a GPU; ask for one of {', '.join(GPU_VENDORS)}"
            report.invalid(
                f"metadata.annotations[{requirements.PREFIX}gpu-name]", given[f"{requirements.PREFIX}gpu-name"], why
            )


def _cross_check(spec: Json, report: Report) -> None:
    """What only shows when several fields are seen together."""
    names: set[str] = set()
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            field = f"spec.{kind}[{index}]"
            if container["name"] in names:
                report.duplicate(f"{field}.name", container["name"])
            names.add(container["name"])
            _cross_check_container(container, field, volumes, report)
            if spec.get("hostNetwork"):
                _cross_check_ports(container, field, report)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        report.required(
            "spec.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if spec.get("dnsConfig") and (policy == "Default" or (policy != "None" and spec.get("hostNetwork"))):
        report.forbidden("spec.dnsConfig", "chinampa can honour it only with dnsPolicy ClusterFirst or None")
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        report.invalid("spec.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled")  # noqa: FBT003


def _cross_check_ports(container: Json, field: str, report: Report) -> None:
    for index, port in enumerate(container.get("ports") or ()):
        if port.get("hostPort") not in (None, 0, port["containerPort"]):
            why = "must match `hostPort` when `hostNetwork` is true"
            report.invalid(f"{field}.ports[{index}].containerPort", port["containerPort"], why)


def _cross_check_container(container: Json, field: str, volumes: dict[str, Json], report: Report) -> None:
    if container["image"] != container["image"].strip():
        report.invalid(f"{field}.image", container["image"], "must not have leading or trailing whitespace")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            path = f"{field}.volumeMounts[{index}].name"
            message = f'Not found: "{mount["name"]}"'
            report.causes.append(Cause(path, "FieldValueNotFound", message))
        elif volumes[mount["name"]].get("image") and mount.get("mountPropagation") not in (None, "None"):
            path = f"{field}.volumeMounts[{index}].mountPropagation"
            report.invalid(path, mount["mountPropagation"], "must be None for a volume that is an image")
    security: dict[str, Any] = container.get("securityContext") or {}
    if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
        report.invalid(
            f"{field}.securityContext",
            security,
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        )
    if security.get("privileged") is not True and any(
        mount.get("mountPropagation") == "Bidirectional" for mount in container.get("volumeMounts") or ()
    ):
        report.forbidden(
            f"{field}.volumeMounts", "Bidirectional mount propagation is available only to privileged containers"
        )
    ports = {port.get("name") for port in container.get("ports") or ()}
    for name in container_spec.PROBES:
        probe: dict[str, Any] = container.get(name) or {}
        for handler in ("httpGet", "tcpSocket"):
            port = (probe.get(handler) or {}).get("port")
            if isinstance(port, str) and port not in ports:
                report.invalid(f"{field}.{name}.{handler}.port", port, "no port of the container has this name")


def ephemeral_filled(pod: Json, wanted: list[Json], report: Report) -> list[Json]:
    """Ephemeral containers with their defaults; what speaks against them is reported."""
    items(EPHEMERAL, key="name")(wanted, "spec.ephemeralContainers", report)
    if report.causes:
        return wanted
    names = {one["name"] for kind in ("initContainers", "containers") for one in pod["spec"].get(kind) or ()}
    filled: list[Json] = []
    for index, one in enumerate(wanted):
        field = f"spec.ephemeralContainers[{index}]"
        if one["name"] in names:
            report.duplicate(f"{field}.name", one["name"])
        target = one.get("targetContainerName")
        if target and target not in names:
            report.causes.append(Cause(f"{field}.targetContainerName", "FieldValueNotFound", f'Not found: "{target}"'))
        filled.append(defaults.container_filled(one))
    return filled
