"""The table of kinds, but for pods and workloads, which bring their own rows. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from cellwire.addresses import is_address
from controller.objects.fields import Check, Json, Report, dns_label, integer, one_of, quantity
from controller.objects.kinds_without_effect import WITHOUT_EFFECT
from controller.objects.quota_rules import known
from controller.objects.resource import EVERY, NAMED, READ, STATUS, Resource, Subresource
from controller.objects.schema import coordination, core, nodes, policies, services
from controller.objects.storage_kinds import CLAIMS, VOLUMES

LARGEST = 1 << 20
POD_SECURITY = "pod-security.kubernetes.io/"
# Of a slice, as Kubernetes bounds it.
MOST_ENDPOINTS = 1000
_TYPES: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/basic-auth": (),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _immutable(one: Json, before: Json | None, fields: Sequence[str], report: Report) -> None:
    if before is None or not before.get("immutable"):
        return
    for field in (*fields, "immutable"):
        if one.get(field) != before.get(field):
            report.forbidden(field, "field is immutable when `immutable` is set")


def _keys(one: Json, fields: Sequence[str], report: Report) -> int:
    size = 0
    seen: set[str] = set()
    for field in fields:
        for key, value in (one.get(field) or {}).items():
            if not key or len(key) > 253 or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in key):
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                report.invalid(f"{field}[{key}]", key, why)
            elif key in {".", ".."} or key.startswith(".."):
                report.invalid(f"{field}[{key}]", key, "must not start with '..'")
            if key in seen and field != "stringData":
                report.invalid(f"{field}[{key}]", key, "duplicate of key present in data")
            seen.add(key)
            size += len(key) + len(value or "")
    return size


def _bytes(one: Json, field: str, report: Report) -> None:
    for key, value in (one.get(field) or {}).items():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError):
            report.invalid(f"{field}[{key}]", "<redacted>", "must be base64")


def _config_map(one: Json, before: Json | None, report: Report) -> None:
    size = _keys(one, ("data", "binaryData"), report)
    _bytes(one, "binaryData", report)
    if size > LARGEST:
        report.causes.append(_too_long("", size))
    _immutable(one, before, ("data", "binaryData"), report)


def _too_long(field: str, size: int) -> Any:
    from_report = Report()
    from_report.invalid(field, size, f"Too long: may not be more than {LARGEST} bytes")
    return from_report.causes[0]


def _secret(one: Json, before: Json | None, report: Report) -> None:
    size = _keys(one, ("data", "stringData"), report)
    _bytes(one, "data", report)
    if size > LARGEST * 4 // 3 + 1024:
        report.causes.append(_too_long("data", size))
    if report.causes:
        return
    kind = one.get("type") or "Opaque"
    if before is not None and kind != before.get("type"):
        report.invalid("type", kind, "field is immutable")
    data: Json = {**(one.get("data") or {}), **(one.get("stringData") or {})}
    for key in _TYPES.get(kind, ()):
        if key not in data:
            report.required(f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        report.required("data[username]")
    _immutable(_secret_filled(one), before, ("data",), report)


def _secret_filled(one: Json) -> Json:
    texts: Json = one.get("stringData") or {}
    filled = {key: value for key, value in one.items() if key != "stringData"}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
    if data := {**(one.get("data") or {}), **encoded}:
        filled["data"] = data
    filled["type"] = one.get("type") or "Opaque"
    return filled


def _each(value: Any, field: str, check: Check, report: Report) -> None:
    for name, amount in (value or {}).items():
        check(amount, f"{field}[{name}]", report)


def _quota(one: Json, before: Json | None, report: Report) -> None:
    del before
    _each((one.get("spec") or {}).get("hard"), "spec.hard", quantity, report)


def _quota_warnings(one: Json) -> Sequence[str]:
    hard: Json = (one.get("spec") or {}).get("hard") or {}
    return [f"spec.hard[{name}]: nothing is counted against it here" for name in hard if not known(name)]


def _service(one: Json, before: Json | None, report: Report) -> None:
    spec: Json = one.get("spec") or {}
    dns_label(one["metadata"]["name"], "metadata.name", report)
    one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")(spec.get("type", "ClusterIP"), "spec.type", report)
    ports: list[Json] = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        report.required("spec.ports")
    for index, port in enumerate(ports):
        integer(1, 65535)(port.get("port"), f"spec.ports[{index}].port", report)
        if len(ports) > 1 and not port.get("name"):
            report.required(f"spec.ports[{index}].name")
    if spec.get("type") == "ExternalName" and not spec.get("externalName"):
        report.required("spec.externalName")
    old: Json = (before or {}).get("spec") or {}
    if old.get("clusterIP") and spec.get("clusterIP") not in (None, "", old["clusterIP"]):
        report.invalid("spec.clusterIP", spec.get("clusterIP"), "field is immutable")


def _service_filled(one: Json) -> Json:
    spec: Json = dict(one.get("spec") or {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        named = [one for one in spec.get("clusterIPs") or [spec.get("clusterIP")] if one and one != "None"]
        spec.setdefault("ipFamilies", ["IPv6" if ":" in str(one) else "IPv4" for one in named] or ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    ports = [{"protocol": "TCP", "targetPort": port["port"], **port} for port in spec.get("ports") or ()]
    if ports:
        spec["ports"] = ports
    return {**one, "spec": spec, "status": one.get("status") or {"loadBalancer": {}}}


def _service_warnings(one: Json) -> Sequence[str]:
    spec: Json = one.get("spec") or {}
    kind, found = spec.get("type"), list[str]()
    if kind in {"NodePort", "LoadBalancer"}:
        found.append(f"spec.type: {kind} is served as ClusterIP: no port is opened outside, for there are no nodes")
    if spec.get("externalIPs"):
        found.append("spec.externalIPs: they lead nowhere: a Service is reached at its cluster IP")
    if spec.get("internalTrafficPolicy") == "Local":
        found.append("spec.internalTrafficPolicy: Local finds nobody, for no two pods share a cell")
    if spec.get("trafficDistribution"):
        found.append("spec.trafficDistribution: it has no effect: each ready pod has its share, wherever it is")
    return found


def _endpoints(one: Json, before: Json | None, report: Report) -> None:
    del before
    for number, subset in enumerate(one.get("subsets") or ()):
        for kind in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(subset.get(kind) or ()):
                _address(address.get("ip"), f"subsets[{number}].{kind}[{index}].ip", report)
        for index, port in enumerate(subset.get("ports") or ()):
            integer(1, 65535)(port.get("port"), f"subsets[{number}].ports[{index}].port", report)


def _slice(one: Json, before: Json | None, report: Report) -> None:
    kinds = ("IPv4", "IPv6", "FQDN")
    one_of(*kinds)(one.get("addressType", ""), "addressType", report)
    if before is not None and before.get("addressType") != one.get("addressType"):
        report.invalid("addressType", one.get("addressType"), "field is immutable")
    listed: list[Json] = one.get("endpoints") or []
    if len(listed) > MOST_ENDPOINTS:
        report.invalid("endpoints", len(listed), f"Too many: must have at most {MOST_ENDPOINTS} items")
        return
    for index, endpoint in enumerate(listed):
        if not endpoint.get("addresses"):
            report.required(f"endpoints[{index}].addresses", "must contain at least 1 address")
        for number, address in enumerate(endpoint.get("addresses") or () if one.get("addressType") != "FQDN" else ()):
            _address(address, f"endpoints[{index}].addresses[{number}]", report)


def _slice_filled(one: Json) -> Json:
    # kubectl describe reads the name of a port without looking whether there is one.
    ports = [{"name": "", "protocol": "TCP", **port} for port in one.get("ports") or ()]
    return {**one, "ports": ports} if ports else one


def _address(value: Any, field: str, report: Report) -> None:
    if not is_address(value):
        report.invalid(field, value, "must be a valid IP address")


def _namespace_warnings(one: Json) -> Sequence[str]:
    """Labels by which a cluster would hold pods to a standard."""
    why = "it has no effect: no pod is refused for what it may do; each has a machine of its own, which is its boundary"
    held = sorted(name for name in one["metadata"].get("labels") or () if name.startswith(POD_SECURITY))
    return [f"metadata.labels[{name}]: {why}" for name in held]


NAMESPACES = Resource(
    name="namespaces",
    kind="Namespace",
    type=nodes.Namespace,
    namespaced=False,
    short=("ns",),
    verbs=tuple(verb for verb in EVERY if verb != "deletecollection"),
    subresources=(Subresource("status", "Namespace", ("get",)),),
    warnings=_namespace_warnings,
    selectable=("metadata.name", "status.phase"),
)
NODES = Resource(
    name="nodes",
    kind="Node",
    type=nodes.Node,
    namespaced=False,
    short=("no",),
    verbs=READ,
    subresources=(Subresource("status", "Node", ("get",)),),
    selectable=("metadata.name", "spec.unschedulable"),
)
EVENTS = Resource(
    name="events",
    kind="Event",
    type=core.Event,
    short=("ev",),
    selectable=(
        *NAMED,
        *("reason", "type", "source"),
        *(f"involvedObject.{part}" for part in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")),
        *("involvedObject.resourceVersion", "reportingComponent"),
    ),
)
CONFIG_MAPS = Resource(name="configmaps", kind="ConfigMap", type=core.ConfigMap, short=("cm",), check=_config_map)
SECRETS = Resource(
    name="secrets",
    kind="Secret",
    type=core.Secret,
    check=_secret,
    defaults=_secret_filled,
    selectable=(*NAMED, "type"),
    sealed=True,
)
SERVICE_ACCOUNTS = Resource(
    name="serviceaccounts",
    kind="ServiceAccount",
    type=core.ServiceAccount,
    short=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io"),),
)
SERVICES = Resource(
    name="services",
    kind="Service",
    type=services.Service,
    short=("svc",),
    categories=("all",),
    check=_service,
    defaults=_service_filled,
    warnings=_service_warnings,
    subresources=(
        Subresource("proxy", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource("status", "Service", STATUS),
    ),
    selectable=(*NAMED, "spec.clusterIP", "spec.type"),
)
ENDPOINTS = Resource(name="endpoints", kind="Endpoints", type=services.Endpoints, short=("ep",), check=_endpoints)
ENDPOINT_SLICES = Resource(
    name="endpointslices",
    kind="EndpointSlice",
    type=policies.EndpointSlice,
    group="discovery.k8s.io",
    check=_slice,
    defaults=_slice_filled,
)
QUOTAS = Resource(
    name="resourcequotas",
    kind="ResourceQuota",
    type=core.ResourceQuota,
    short=("quota",),
    check=_quota,
    warnings=_quota_warnings,
    subresources=(Subresource("status", "ResourceQuota", STATUS),),
)
LEASES = Resource(name="leases", kind="Lease", type=coordination.Lease, group="coordination.k8s.io")
# Kept as they are, in the store.
STORED = (
    *(CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, SERVICES, ENDPOINTS, ENDPOINT_SLICES, QUOTAS),
    *(LEASES, CLAIMS, VOLUMES),
    *WITHOUT_EFFECT,
)
