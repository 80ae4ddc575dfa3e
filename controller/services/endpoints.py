"""Endpoints: from a Service and the pods that it selects to the objects that tell who answers for it. Pure.

By the rules of Kubernetes' own controllers of endpoints, endpoint slices and their mirrors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from controller.objects.fields import Json
from controller.services.cluster_ips import V4, family
from controller.services.model import SERVICE_LABEL

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SELECTED, MIRRORED = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ENDPOINTS_LABEL, ENDPOINTS_BY = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
TRUNCATED = "endpoints.kubernetes.io/over-capacity"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
IN_A_SLICE = 100
IN_ENDPOINTS = 1000
_OVER = frozenset({"Succeeded", "Failed"})
Ports = tuple[tuple[str, str, int, str], ...]
"""Name, protocol, number and application's protocol of each port."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as who answers for a Service: by which ports, and the endpoint of a slice."""

    ports: Ports
    endpoint: Json

    @property
    def address(self) -> str:
        """Where it is dialled."""
        return self.endpoint["addresses"][0]

    @property
    def family(self) -> str:
        """Of the address."""
        return family(self.address)

    @property
    def uid(self) -> str:
        """Of the pod."""
        return (self.endpoint.get("targetRef") or {}).get("uid", self.address)


class EndpointChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to write: objects to create, such as are to be so from now on, and names of those that are to go."""

    create: tuple[Json, ...] = ()
    change: tuple[Json, ...] = ()
    delete: tuple[str, ...] = ()


def selects(service: Json, pod: Json) -> bool:
    """Whether a Service's selector finds a pod; one without a selector finds none."""
    selector: Json = (service.get("spec") or {}).get("selector") or {}
    labels: Json = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def seen_of(pod: Json) -> tuple[Any, ...]:
    """What of a pod its endpoints are made from: while this is the same, so are they."""
    status: Json = pod.get("status") or {}
    return (
        pod["metadata"].get("labels"),
        bool(pod["metadata"].get("deletionTimestamp")),
        status.get("podIP"),
        status.get("podIPs"),
        status.get("phase"),
        _is_ready(pod),
        pod["spec"].get("nodeName"),
    )


def members(service: Json, pods: Iterable[Json]) -> list[Member]:
    """The pods that answer for a Service, or will, at each of its families of addresses: those that have an address
    and are not over.
    """
    found = [
        Member(ports=_ports(service, pod), endpoint=_endpoint(service, pod, address))
        for pod in pods
        if selects(service, pod) and (pod.get("status") or {}).get("phase") not in _OVER
        for address in _addresses(pod)
        if family(address) in families(service)
    ]
    return sorted(found, key=lambda one: (one.endpoint["targetRef"]["name"], one.uid, one.family))


def families(service: Json) -> list[str]:
    """The families of a Service's addresses, the first its main one."""
    return service["spec"].get("ipFamilies") or [V4]


def slices(service: Json, found: Sequence[Member], there: Sequence[Json]) -> EndpointChanges:
    """What to do about the slices of a Service that these pods answer for. Who is in one stays in it."""
    return _planned(service, found, there, SELECTED, families(service))


def mirrored(service: Json, endpoints: Json | None, there: Sequence[Json]) -> EndpointChanges:
    """The slices of a Service without a selector, whose Endpoints somebody has written."""
    found: list[Member] = []
    annotated = (endpoints or {"metadata": {}})["metadata"].get("labels") or {}
    for subset in (endpoints or {}).get("subsets") or () if SKIP_MIRROR not in annotated else ():
        ports = _numbers(subset.get("ports") or ())
        for kind, ready in (("addresses", True), ("notReadyAddresses", False)):
            found += [Member(ports=ports, endpoint=_mirror(one, ready=ready)) for one in subset.get(kind) or ()]
    if not found:
        return EndpointChanges(delete=tuple(one["metadata"]["name"] for one in there))
    return _planned(service, found, there, MIRRORED, list(dict.fromkeys(one.family for one in found)))


def endpoints(service: Json, found: Sequence[Member]) -> Json:
    """The Endpoints of a Service: ready and not ready ones of its main family by their ports, those that end left
    out.
    """
    subsets: dict[Ports, dict[str, list[Json]]] = {}
    found = [one for one in found if one.family == families(service)[0]]
    too_many = len(found) > IN_ENDPOINTS
    # Where not all have room, those that answer have it first.
    chosen = sorted(found, key=lambda one: not one.endpoint["conditions"]["ready"])[:IN_ENDPOINTS]
    for one in chosen:
        ready, terminating = one.endpoint["conditions"]["ready"], one.endpoint["conditions"]["terminating"]
        if terminating and not ready:
            continue
        address = {"ip": one.address, "targetRef": one.endpoint["targetRef"]}
        address |= {name: one.endpoint[name] for name in ("hostname", "nodeName") if name in one.endpoint}
        kind = "addresses" if ready else "notReadyAddresses"
        subsets.setdefault(one.ports, {}).setdefault(kind, []).append(address)
    made: Json = {"metadata": _metadata(service, service["metadata"]["name"], {ENDPOINTS_LABEL: ENDPOINTS_BY})}
    made["metadata"]["labels"].pop(SERVICE_LABEL)
    if too_many:
        made["metadata"]["annotations"] = {TRUNCATED: "truncated"}
    if subsets:
        made["subsets"] = [
            {
                **{kind: sorted(some, key=lambda one: one["ip"]) for kind, some in kinds.items()},
                **_listed(ports, unnamed=False),
            }
            for ports, kinds in sorted(subsets.items())
        ]
    return made


def _planned(
    service: Json, found: Sequence[Member], there: Sequence[Json], by: str, wanted: Sequence[str]
) -> EndpointChanges:
    names = {one["metadata"]["name"] for one in there}
    plans = [
        _of_family(service, [one for one in found if one.family == each], _of_type(there, each), names, (by, each))
        for each in wanted
    ]
    gone = tuple(one["metadata"]["name"] for one in there if one.get("addressType", V4) not in wanted)
    return _joined(plans, gone)


def _of_type(there: Sequence[Json], type_: str) -> list[Json]:
    return [one for one in there if one.get("addressType", V4) == type_]


def _of_family(
    service: Json, found: Sequence[Member], there: Sequence[Json], names: set[str], kind: tuple[str, str]
) -> EndpointChanges:
    # One without endpoints says that nobody answers.
    groups: dict[Ports, list[Member]] = {} if found else {(): []}
    for one in found:
        groups.setdefault(one.ports, []).append(one)
    of_ports: dict[Ports, list[Json]] = {}
    for one in there:
        of_ports.setdefault(_numbers(one.get("ports") or ()), []).append(one)
    plans = [_group(service, ports, some, of_ports.pop(ports, []), names, kind) for ports, some in groups.items()]
    return _joined(plans, tuple(one["metadata"]["name"] for rest in of_ports.values() for one in rest))


def _joined(plans: Sequence[EndpointChanges], gone: tuple[str, ...]) -> EndpointChanges:
    return EndpointChanges(
        create=tuple(one for plan in plans for one in plan.create),
        change=tuple(one for plan in plans for one in plan.change),
        delete=(*gone, *(name for plan in plans for name in plan.delete)),
    )


def _group(
    service: Json,
    ports: Ports,
    found: Sequence[Member],
    there: Sequence[Json],
    names: set[str],
    kind: tuple[str, str],
) -> EndpointChanges:
    """The slices of those who answer by the same ports at addresses of one family; `kind` is by whom, and which."""
    left = {(one.uid, one.address): one.endpoint for one in found}
    filled: list[tuple[Json | None, list[Json]]] = []
    for one in sorted(there, key=lambda one: one["metadata"]["name"]):
        known = [_key(endpoint) for endpoint in one.get("endpoints") or ()]
        filled.append((one, [left.pop(key) for key in known if key in left]))
    waiting = list(left.values())
    for _, inside in filled:
        room = IN_A_SLICE - len(inside)
        inside.extend(waiting[:room])
        waiting = waiting[room:]
    filled += [(None, waiting[at : at + IN_A_SLICE]) for at in range(0, len(waiting), IN_A_SLICE)]
    if not found and not filled:
        filled.append((None, []))
    create: list[Json] = []
    change: list[Json] = []
    delete: list[str] = []
    for index, (one, kept) in enumerate(filled):
        if one is not None and not kept and (found or index):
            delete.append(one["metadata"]["name"])
            continue
        name = one["metadata"]["name"] if one is not None else _name(service, ports, kind[1], names)
        names.add(name)
        wanted = _slice(service, name, ports, kept, kind)
        if one is None:
            create.append(wanted)
        elif content(one) != content(wanted):
            change.append(wanted)
    return EndpointChanges(create=tuple(create), change=tuple(change), delete=tuple(delete))


def _slice(service: Json, name: str, ports: Ports, kept: Sequence[Json], kind: tuple[str, str]) -> Json:
    by, type_ = kind
    return {
        "metadata": _metadata(service, name, {MANAGED_BY: by}),
        "addressType": type_,
        "endpoints": list(kept),
        **_listed(ports),
    }


def content(one: Json) -> Json:
    """What of an object of ours says who answers: equal for two that say the same."""
    metadata: Json = one["metadata"]
    return {
        **{name: one.get(name) or [] for name in ("endpoints", "ports", "subsets")},
        **{name: metadata.get(name) or {} for name in ("labels", "annotations", "ownerReferences")},
    }


def _metadata(service: Json, name: str, more: Mapping[str, str]) -> Json:
    metadata: Json = service["metadata"]
    headless = {HEADLESS_LABEL: ""} if (service.get("spec") or {}).get("clusterIP") == "None" else {}
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "name": name,
        "labels": {**(metadata.get("labels") or {}), **headless, **more, SERVICE_LABEL: metadata["name"]},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }


def _name(service: Json, ports: Ports, type_: str, names: set[str]) -> str:
    """A name that nobody has; the same for the same Service and ports, so that a repeated creation is one."""
    for number in range(len(names) + 1):
        what = [service["metadata"]["uid"], ports, number, *([] if type_ == V4 else [type_])]
        mark = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:5]
        name = f"{service['metadata']['name']}-{mark}"
        if name not in names:
            return name
    raise AssertionError("more names than there are slices")


def _key(endpoint: Json) -> tuple[str, str]:
    (address, *_) = endpoint.get("addresses") or ("",)
    return (endpoint.get("targetRef") or {}).get("uid", address), address


def _addresses(pod: Json) -> list[str]:
    """A pod's addresses, one of each family at most."""
    status: Json = pod.get("status") or {}
    listed = [status.get("podIP"), *(one.get("ip") for one in status.get("podIPs") or ())]
    found: dict[str, str] = {}
    for one in filter(None, listed):
        found.setdefault(family(one), one)
    return list(found.values())


def _endpoint(service: Json, pod: Json, address: str) -> Json:
    metadata, spec = pod["metadata"], pod["spec"]
    serving, terminating = _is_ready(pod), bool(metadata.get("deletionTimestamp"))
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    made: Json = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {name: metadata[name] for name in ("name", "namespace", "uid")} | {"kind": "Pod"},
    }
    if spec.get("nodeName"):
        made["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        made["hostname"] = spec["hostname"]
    return made


def _mirror(address: Json, *, ready: bool) -> Json:
    made: Json = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    return made | {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}


def _is_ready(pod: Json) -> bool:
    listed: list[Json] = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in listed)


def _ports(service: Json, pod: Json) -> Ports:
    found: list[tuple[str, str, int, str]] = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _number(pod, port.get("targetPort") or port["port"], protocol)
        if number:
            found.append((port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(found)


def _number(pod: Json, target: int | str, protocol: str) -> int:
    """The number of a port that is named by its number or its name in the pod; 0 where the pod has none such."""
    if isinstance(target, int):
        return target
    sidecars = [one for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*pod["spec"]["containers"], *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return 0


def _listed(ports: Ports, *, unnamed: bool = True) -> Json:
    """As members of an object; the only port of Endpoints has no name, where that of a slice has an empty one."""
    if not ports:
        return {}
    return {
        "ports": [
            ({"name": name} if name or unnamed else {})
            | {"protocol": protocol, "port": number}
            | ({"appProtocol": app} if app else {})
            for name, protocol, number, app in ports
        ]
    }


def _numbers(listed: Iterable[Json]) -> Ports:
    return tuple(
        (one.get("name") or "", one.get("protocol") or "TCP", int(one.get("port") or 0), one.get("appProtocol") or "")
        for one in listed
    )
