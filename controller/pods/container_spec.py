"""Which fields of a container are understood, and what their values may be. Pure tables."""

from __future__ import annotations

import re
from typing import Any, cast

from controller.choice.demand import GPU_VENDORS, KNOWN
from controller.choice.quantity import quantity as amount_of
from controller.objects.fields import (
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
    one_of,
    only,
    quantity,
    record,
    refused,
    text,
)

RESOURCES = tuple(sorted(KNOWN))
POD_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
RESOURCE_FIELDS = tuple(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_ENV_NAME = re.compile(r"[^=\0]+")


def _env_name(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        report.invalid(field, value, "a valid environment variable name must not be empty or contain '='")


def _pod_field(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or (value not in POD_FIELDS and not _KEYED_FIELD.fullmatch(value)):
        report.unsupported(field, value, (*POD_FIELDS, "metadata.labels['name']", "metadata.annotations['name']"))


FIELD_REF = record({"apiVersion": only("v1"), "fieldPath": _pod_field}, required=("fieldPath",))


def _whole_field(value: object, field: str, report: Report) -> None:
    """In a volume all labels or annotations can be one file."""
    if value not in {"metadata.labels", "metadata.annotations"}:
        _pod_field(value, field, report)


WHOLE_FIELD_REF = record({"apiVersion": only("v1"), "fieldPath": _whole_field}, required=("fieldPath",))
RESOURCE_REF = record(
    {"containerName": dns_label, "resource": one_of(*RESOURCE_FIELDS), "divisor": quantity}, required=("resource",)
)
_KEY_OF = record({"name": dns_name, "key": text, "optional": boolean}, required=("name", "key"))
_VALUE_FROM = record(
    {
        "fieldRef": FIELD_REF,
        "resourceFieldRef": RESOURCE_REF,
        "configMapKeyRef": _KEY_OF,
        "secretKeyRef": _KEY_OF,
        "fileKeyRef": refused(),
    }
)
_SOURCE = record({"name": dns_name, "optional": boolean}, required=("name",))
# What variables are taken from: just one place for each entry.
_ENV_FROM = just_one(
    record({"prefix": text, "configMapRef": _SOURCE, "secretRef": _SOURCE}), "configMapRef", "secretRef"
)


def _env(value: object, field: str, report: Report) -> None:
    record({"name": _env_name, "value": text, "valueFrom": _VALUE_FROM}, required=("name",))(value, field, report)
    if isinstance(value, dict):
        entry = cast("Json", value)
        source = entry.get("valueFrom")
        if entry.get("value") and source is not None:
            report.invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty")
        if isinstance(source, dict) and len([one for one in cast("Json", source).values() if one is not None]) != 1:
            report.invalid(
                f"{field}.valueFrom",
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef`",
            )


def _amounts(value: object, field: str, report: Report) -> None:
    if not isinstance(value, dict):
        report.invalid(field, value, "must be an object")
        return
    for name, amount in cast("Json", value).items():
        if name in RESOURCES:
            quantity(amount, f"{field}.{name}", report)
        else:
            report.forbidden(
                f"{field}.{name}", f"chinampa cannot honour this resource yet; it can honour {', '.join(RESOURCES)}"
            )


def _resources(value: object, field: str, report: Report) -> None:
    before = len(report.causes)
    record({"limits": _amounts, "requests": _amounts, "claims": refused()})(value, field, report)
    if len(report.causes) > before:
        return
    resources = cast("Json", value)
    limits: Json = resources.get("limits") or {}
    for name, amount in cast("Json", resources.get("requests") or {}).items():
        if name in limits and amount_of(amount) > amount_of(limits[name]):
            report.invalid(f"{field}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}")
    _gpus(resources, field, report)


def _gpus(resources: Json, field: str, report: Report) -> None:
    """As Kubernetes has it for whatever cannot be divided or lent twice."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in GPU_VENDORS:
        for part in ("limits", "requests"):
            amount = (resources.get(part) or {}).get(name)
            if amount is not None and amount_of(amount) % 1:
                report.invalid(f"{field}.{part}[{name}]", amount, "must be an integer")
        if name in requests and name not in limits:
            report.required(f"{field}.limits[{name}]", "Limit must be set for non overcommitable resources")
        elif name in requests and amount_of(requests[name]) != amount_of(limits[name]):
            why = f"must be equal to {name} limit of {limits[name]}"
            report.invalid(f"{field}.requests", requests[name], why)


SECCOMP: Check = record(
    {
        "type": only("RuntimeDefault", "Unconfined", why="a cell has no profiles of its own"),
        "localhostProfile": refused(),
    },
    required=("type",),
)
# Without effect on a cell that does not run SELinux, as on any such node.
SELINUX = record({"level": text, "role": text, "type": text, "user": text})
WINDOWS = refused("cells run Linux")
USER_ID = integer(0, 2**31 - 1)

_SECURITY = record(
    {
        "allowPrivilegeEscalation": boolean,
        "appArmorProfile": SECCOMP,
        "capabilities": record({"add": items(text), "drop": items(text)}),
        "privileged": boolean,
        "procMount": only("Default"),
        "readOnlyRootFilesystem": boolean,
        "runAsGroup": USER_ID,
        "runAsNonRoot": boolean,
        "runAsUser": USER_ID,
        "seLinuxOptions": SELINUX,
        "seccompProfile": SECCOMP,
        "windowsOptions": WINDOWS,
    }
)

PORT = integer(1, 65535)

_PORT = record(
    {
        "containerPort": PORT,
        "hostIP": text,
        "hostPort": PORT,
        "name": dns_label,
        "protocol": one_of("TCP", "UDP", "SCTP"),
    },
    required=("containerPort",),
)


def _port_or_name(value: object, field: str, report: Report) -> None:
    if isinstance(value, str):
        dns_label(value, field, report)
    else:
        PORT(value, field, report)


_TIMING: dict[str, Check] = {
    "failureThreshold": integer(1, 2**31 - 1),
    "initialDelaySeconds": integer(0, 2**31 - 1),
    "periodSeconds": integer(1, 2**31 - 1),
    "successThreshold": integer(1, 2**31 - 1),
    "terminationGracePeriodSeconds": integer(1, 2**31 - 1),
    "timeoutSeconds": integer(1, 2**31 - 1),
}
_TOKEN = re.compile(r"[-A-Za-z0-9]+")


def _header_name(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        report.invalid(field, value, "a valid HTTP header must consist of alphanumeric characters or '-'")


_OWN_HOST = only("", "localhost", "127.0.0.1", why="a probe goes to the pod itself")
_HEADER = record({"name": _header_name, "value": text}, required=("name",))
_HANDLERS: dict[str, Check] = {
    "exec": record({"command": items(text)}, required=("command",)),
    "grpc": record({"port": PORT, "service": text}, required=("port",)),
    "httpGet": record(
        {
            "host": _OWN_HOST,
            "httpHeaders": items(_HEADER),
            "path": text,
            "port": _port_or_name,
            "scheme": one_of("HTTP", "HTTPS"),
        },
        required=("port",),
    ),
    "tcpSocket": record({"host": _OWN_HOST, "port": _port_or_name}, required=("port",)),
}


def _probe(*, once: bool) -> Check:
    shape = record({**_TIMING, **_HANDLERS})

    def check(value: object, field: str, report: Report) -> None:
        shape(value, field, report)
        if not isinstance(value, dict):
            return
        probe = cast("Json", value)
        given = [name for name in _HANDLERS if probe.get(name)]
        if not given:
            report.required(field, "must specify a handler type")
        elif len(given) > 1:
            report.forbidden(f"{field}.{given[1]}", "may not specify more than 1 handler type")
        if not once and probe.get("terminationGracePeriodSeconds") is not None:
            report.invalid(
                f"{field}.terminationGracePeriodSeconds",
                probe["terminationGracePeriodSeconds"],
                "must not be set for readinessProbes",
            )
        if once and probe.get("successThreshold") not in (None, 1):
            report.invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1")

    return check


def _sub_path(value: object, field: str, report: Report) -> None:
    if not isinstance(value, str) or value.startswith("/"):
        report.invalid(field, value, "must be a relative path")
    elif ".." in value.split("/"):
        report.invalid(field, value, "must not contain '..'")


_VOLUME_MOUNT = record(
    {
        "mountPath": text,
        "mountPropagation": one_of("None", "HostToContainer", "Bidirectional"),
        "name": dns_label,
        "readOnly": boolean,
        "recursiveReadOnly": one_of("Disabled", "IfPossible", "Enabled"),
        "subPath": _sub_path,
        "subPathExpr": _sub_path,
    },
    required=("name", "mountPath"),
)

_ACTION = record({**_HANDLERS, "sleep": record({"seconds": integer(0)}, required=("seconds",)), "grpc": refused()})


def _hook(value: object, field: str, report: Report) -> None:
    _ACTION(value, field, report)
    if isinstance(value, dict) and len([one for one in cast("Json", value).values() if one is not None]) != 1:
        report.required(field, "must specify exactly one handler type")


# As Kubernetes bounds them.
MOST_RULES, MOST_CODES = 20, 255


def _codes(value: object, field: str, report: Report) -> None:
    items(integer(-(2**31), 2**31 - 1))(value, field, report)
    if isinstance(value, list) and len(cast("list[Any]", value)) > MOST_CODES:
        report.invalid(field, len(cast("list[Any]", value)), f"must have at most {MOST_CODES} items")


_RULE = record(
    {
        "action": only("Restart", why="a cell restarts one container, not all of them"),
        "exitCodes": record({"operator": one_of("In", "NotIn"), "values": _codes}, required=("operator",)),
    },
    required=("action", "exitCodes"),
)

FIELDS: dict[str, Check] = {
    "args": items(text),
    "command": items(text),
    "env": items(_env),
    "envFrom": items(_ENV_FROM),
    "image": text,
    "imagePullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "lifecycle": record({"postStart": _hook, "preStop": _hook, "stopSignal": refused()}),
    "livenessProbe": _probe(once=True),
    "name": dns_label,
    "ports": items(_PORT),
    "readinessProbe": _probe(once=False),
    "resizePolicy": anything,
    "resources": _resources,
    "restartPolicy": one_of("Always", "OnFailure", "Never"),
    "restartPolicyRules": items(_RULE),
    "securityContext": _SECURITY,
    "startupProbe": _probe(once=True),
    "stdin": boolean,
    "stdinOnce": boolean,
    "terminationMessagePath": absolute,
    "terminationMessagePolicy": one_of("File", "FallbackToLogsOnError"),
    "tty": boolean,
    "volumeDevices": refused("there are no block volumes"),
    "volumeMounts": items(_VOLUME_MOUNT, key="mountPath"),
    "workingDir": text,
}

_SHAPE = record(FIELDS, required=("name", "image"))
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def main_container(value: object, field: str, report: Report) -> None:
    """A container of a pod."""
    _SHAPE(value, field, report)
    if isinstance(value, dict):
        _restarting(cast("Json", value), field, report)


def _restarting(one: Json, field: str, report: Report) -> None:
    rules = one.get("restartPolicyRules") or ()
    if rules and not one.get("restartPolicy"):
        report.required(f"{field}.restartPolicy", "must specify restartPolicy when restart rules are used")
    if isinstance(rules, list) and len(cast("list[Any]", rules)) > MOST_RULES:
        report.invalid(
            f"{field}.restartPolicyRules", len(cast("list[Any]", rules)), f"must have at most {MOST_RULES} items"
        )


def init_container(value: object, field: str, report: Report) -> None:
    """An init container; with restartPolicy Always a sidecar. Only sidecars have probes and hooks."""
    main_container(value, field, report)
    if not isinstance(value, dict):
        return
    one = cast("Json", value)
    if one.get("restartPolicy") == "Always":
        return
    for name in (*PROBES, "lifecycle"):
        if one.get(name):
            report.forbidden(f"{field}.{name}", "may not be set for init containers without restartPolicy=Always")


# A container that is put into a pod that runs: it has neither probes nor hooks nor ports nor resources.
_NONE_LATER = refused("a container that is put into a running pod cannot have it")
EPHEMERAL = record(
    {
        **FIELDS,
        **dict.fromkeys(
            (*PROBES, "lifecycle", "ports", "resources", "restartPolicy", "restartPolicyRules"), _NONE_LATER
        ),
        "targetContainerName": dns_label,
    },
    required=("name", "image"),
)
