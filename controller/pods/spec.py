"""Admission: is this manifest a pod that can be run exactly as it says? Pure.

Every fault is reported at once, with the path of its field; what Kubernetes knows and this engine cannot honour yet
is refused by name and never ignored.
"""

from __future__ import annotations

import copy
import re
from typing import Any, cast

from controller.objects.fields import (
    Cause,
    Check,
    Invalid,
    Json,
    Report,
    absolute,
    anything,
    boolean,
    dns_label,
    dns_name,
    integer,
    items,
    labels,
    one_of,
    only,
    quantity,
    record,
    refused,
    text,
    texts_by_name,
)
from controller.pods import container_spec
from controller.pods.container_spec import CONTAINER, NO_OBJECTS, SECCOMP, SELINUX, USER_ID, WINDOWS, init_container
from controller.pods.defaults import with_defaults
from controller.pods.translate import MEMORY

_NO_SCHEDULER = "every pod gets a cell of its own; there is nothing to schedule among"
_SYSCTL = re.compile(r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$")


def _sysctl_name(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or not _SYSCTL.match(value):
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

_IN_MEMORY = record(
    {"medium": only("", MEMORY, why="the folder is on the cell's disk or in its memory"), "sizeLimit": quantity}
)


def _empty_dir(value: object, field: str, report: Report) -> None:
    _IN_MEMORY(value, field, report)
    if isinstance(value, dict) and cast("Json", value).get("medium") != MEMORY:
        refused("only a folder in memory has a limit of its own")(
            cast("Json", value).get("sizeLimit"), f"{field}.sizeLimit", report
        )


_VOLUME_KINDS: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": record({"path": absolute, "type": only("", "Directory")}, required=("path",)),
}
_REFUSED_KINDS = (
    *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "ephemeral", "fc", "flexVolume"),
    *("flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image", "iscsi", "nfs", "persistentVolumeClaim"),
    *("photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
)
_OBJECT_KINDS = ("configMap", "secret", "projected", "downwardAPI")


def _unavailable(why: str) -> Check:
    def check(value: object, field: str, report: Report) -> None:
        del value
        report.forbidden(field, f"chinampa cannot honour this volume: {why}; it can honour emptyDir and hostPath")

    return check


_VOLUME_SHAPE = record(
    {
        "name": dns_label,
        **_VOLUME_KINDS,
        **{kind: _unavailable("not supported yet") for kind in _REFUSED_KINDS},
        **{kind: _unavailable(NO_OBJECTS) for kind in _OBJECT_KINDS},
    },
    required=("name",),
)


def _volume(value: object, field: str, report: Report) -> None:
    _VOLUME_SHAPE(value, field, report)
    if isinstance(value, dict):
        given = [name for name, member in cast("Json", value).items() if name != "name" and member is not None]
        if not given:
            report.required(field, "must specify a volume type")
        elif len(given) > 1:
            report.forbidden(f"{field}.{given[1]}", "may not specify more than 1 volume type")


_SELECTABLE: dict[str, Check] = {
    "kubernetes.io/arch": one_of("amd64", "arm64"),
    "kubernetes.io/os": only("linux"),
}


def _node_selector(value: object, field: str, report: Report) -> None:
    texts_by_name(value, field, report)
    if isinstance(value, dict):
        for name, member in cast("Json", value).items():
            check = _SELECTABLE.get(name) or refused("choose the cell by chinampa.dev annotations")
            check(member, f"{field}.{name}", report)


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

_SPEC = record(
    {
        "activeDeadlineSeconds": integer(1, 2**31 - 1),
        "affinity": refused(_NO_SCHEDULER),
        "automountServiceAccountToken": refused("there are no service accounts"),
        "containers": items(CONTAINER, key="name"),
        "dnsConfig": _DNS_CONFIG,
        "dnsPolicy": one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "enableServiceLinks": boolean,
        "ephemeralContainers": refused(),
        "hostAliases": refused(),
        "hostIPC": boolean,
        "hostNetwork": boolean,
        "hostPID": boolean,
        "hostUsers": only(True),  # noqa: FBT003 - the value of a field, not a switch
        "hostname": dns_label,
        "hostnameOverride": refused(),
        "imagePullSecrets": refused(NO_OBJECTS),
        "initContainers": items(init_container, key="name"),
        "nodeName": refused("the cell is made for the pod; choose its kind by chinampa.dev annotations"),
        "nodeSelector": _node_selector,
        "os": record({"name": only("linux")}, required=("name",)),
        "overhead": refused("the overhead of a cell is known to the controller"),
        "preemptionPolicy": one_of("PreemptLowerPriority", "Never"),
        "priority": refused(_NO_SCHEDULER),
        "priorityClassName": refused(_NO_SCHEDULER),
        "readinessGates": refused(),
        "resourceClaims": refused(),
        "resources": refused("give requests and limits to the containers"),
        "restartPolicy": one_of("Always", "OnFailure", "Never"),
        "runtimeClassName": refused("there is one runtime: a cell"),
        "schedulerName": only("default-scheduler", why=_NO_SCHEDULER),
        "schedulingGates": refused(_NO_SCHEDULER),
        "securityContext": _POD_SECURITY,
        "serviceAccount": only("default", "", why="there are no service accounts"),
        "serviceAccountName": only("default", "", why="there are no service accounts"),
        "setHostnameAsFQDN": refused(),
        "shareProcessNamespace": boolean,
        "subdomain": refused("there are no services"),
        "terminationGracePeriodSeconds": integer(0, 2**31 - 1),
        "tolerations": items(_TOLERATION),
        "topologySpreadConstraints": refused(_NO_SCHEDULER),
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
        "finalizers": refused(),
        "generateName": text,
        "generation": anything,
        "labels": labels,
        "managedFields": anything,
        "name": dns_name,
        "namespace": dns_label,
        "ownerReferences": refused("nothing here owns pods"),
        "resourceVersion": anything,
        "selfLink": anything,
        "uid": anything,
    }
)

_POD = record(
    {"apiVersion": only("v1"), "kind": only("Pod"), "metadata": _METADATA, "spec": _SPEC, "status": anything},
    required=("metadata", "spec"),
)


def admit(manifest: Json) -> Json:
    """The manifest with Kubernetes' defaults filled in. Raises Invalid with every cause."""
    report = Report()
    _POD(manifest, "", report)
    metadata = cast("Json", manifest.get("metadata") if isinstance(manifest.get("metadata"), dict) else {})
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    if not name:
        report.required("metadata.name", "name or generateName is required")
    if not report.causes:
        _cross_check(manifest["spec"], report)
    if report.causes:
        raise Invalid(name, report.causes)
    return with_defaults(copy.deepcopy(manifest))


def _cross_check(spec: Json, report: Report) -> None:
    """What only shows when several fields are seen together."""
    names: set[str] = set()
    volumes = {volume["name"] for volume in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            field = f"spec.{kind}[{index}]"
            if container["name"] in names:
                report.duplicate(f"{field}.name", container["name"])
            names.add(container["name"])
            _cross_check_container(container, field, volumes, report)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        report.required(
            "spec.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if policy != "None" and spec.get("dnsConfig"):
        report.forbidden("spec.dnsConfig", "chinampa can honour it only with dnsPolicy None")
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        report.invalid("spec.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled")  # noqa: FBT003


def _cross_check_container(container: Json, field: str, volumes: set[str], report: Report) -> None:
    if container["image"] != container["image"].strip():
        report.invalid(f"{field}.image", container["image"], "must not have leading or trailing whitespace")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            path = f"{field}.volumeMounts[{index}].name"
            message = f'Not found: "{mount["name"]}"'
            report.causes.append(Cause(path, "FieldValueNotFound", message))
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
