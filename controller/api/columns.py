"""Columns of the kinds that are kept as objects and of the workloads, as a Kubernetes API server prints them. Pure."""

from __future__ import annotations

from typing import Any

from controller.api.printing import NONE, Column, Table
from controller.objects.fields import Json
from controller.objects.timestamps import duration, seconds_of, since

_NAME, _AGE = Column("Name"), Column("Age")
_CONTAINERS = (Column("Containers", wide=True), Column("Images", wide=True), Column("Selector", wide=True))


def name_of(one: Json) -> str:
    """The name of an object."""
    return one["metadata"]["name"]


def age_of(one: Json, now: float) -> str:
    """How long it has been there."""
    return since(one["metadata"].get("creationTimestamp"), now)


def _plain(one: Json, now: float) -> list[Any]:
    return [name_of(one), age_of(one, now)]


PLAIN = Table((_NAME, _AGE), _plain)


def _counted(*fields: str) -> Any:
    def cells(one: Json, now: float) -> list[Any]:
        return [name_of(one), sum(len(one.get(field) or ()) for field in fields), age_of(one, now)]

    return cells


def _secret(one: Json, now: float) -> list[Any]:
    return [name_of(one), one.get("type", "Opaque"), len(one.get("data") or ()), age_of(one, now)]


def _service(one: Json, now: float) -> list[Any]:
    spec: Json = one.get("spec") or {}
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or ()) or NONE
    external = spec.get("externalName") or NONE
    return [
        name_of(one),
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or NONE,
        external,
        ports,
        age_of(one, now),
        _labels(spec.get("selector")),
    ]


def _labels(given: Json | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((given or {}).items())) or NONE


def selector(given: Json | None) -> str:
    """A label selector as kubectl writes it."""
    held: Json = given or {}
    terms = [f"{name}={value}" for name, value in sorted((held.get("matchLabels") or {}).items())]
    for one in held.get("matchExpressions") or ():
        values = ",".join(one.get("values") or ())
        key = one.get("key", "")
        match one.get("operator", ""):
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
            case operator:
                terms.append(f"{key} {operator.lower()} ({values})")
    return ",".join(terms) or NONE


def _template(one: Json) -> list[Any]:
    containers: list[Json] = one["spec"]["template"]["spec"].get("containers") or []
    names, images = (",".join(each.get(field, "") for each in containers) for field in ("name", "image"))
    return [names, images, selector(one["spec"].get("selector"))]


def _deployment(one: Json, now: float) -> list[Any]:
    status: Json = one.get("status") or {}
    wanted = one["spec"].get("replicas", 1)
    ready, updated, available = (status.get(f"{word}Replicas", 0) for word in ("ready", "updated", "available"))
    return [name_of(one), f"{ready}/{wanted}", updated, available, age_of(one, now), *_template(one)]


def _replica_set(one: Json, now: float) -> list[Any]:
    status: Json = one.get("status") or {}
    wanted, has, ready = one["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)
    return [name_of(one), wanted, has, ready, age_of(one, now), *_template(one)]


def _stateful_set(one: Json, now: float) -> list[Any]:
    ready = (one.get("status") or {}).get("readyReplicas", 0)
    return [name_of(one), f"{ready}/{one['spec'].get('replicas', 1)}", age_of(one, now), *_template(one)[:2]]


def _controller_revision(one: Json, now: float) -> list[Any]:
    owners = [each for each in one["metadata"].get("ownerReferences") or () if each.get("controller")]
    named = [f"{each['kind'].lower()}.{each['apiVersion'].partition('/')[0]}/{each['name']}" for each in owners]
    return [name_of(one), *(named or ["<none>"]), one.get("revision", 0), age_of(one, now)]


def _job(one: Json, now: float) -> list[Any]:
    spec, status = one["spec"], one.get("status") or {}
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    shown = next(
        (name for name in ("Complete", "Failed", "Suspended", "FailureTarget") if conditions.get(name) == "True"),
        "Running",
    )
    if one["metadata"].get("deletionTimestamp"):
        shown = "Terminating"
    succeeded = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        done = f"{succeeded}/{spec['completions']}"
    else:
        parallelism = spec.get("parallelism") or 0
        done = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    began, ended = seconds_of(status.get("startTime")), seconds_of(status.get("completionTime"))
    took = "" if began is None else duration((ended if ended is not None else now) - began)
    return [name_of(one), shown, done, took, age_of(one, now), *_template(one)]


def _cron_job(one: Json, now: float) -> list[Any]:
    spec, status = one["spec"], one.get("status") or {}
    last = status.get("lastScheduleTime")
    return [
        name_of(one),
        spec["schedule"],
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age_of(one, now),
        *_template(spec["jobTemplate"]),
    ]


def _budget(one: Json, now: float) -> list[Any]:
    spec, status = one.get("spec") or {}, one.get("status") or {}
    bounds = [str(spec.get(name, "N/A")) for name in ("minAvailable", "maxUnavailable")]
    return [name_of(one), *bounds, status.get("disruptionsAllowed", 0), age_of(one, now)]


def _policy(one: Json, now: float) -> list[Any]:
    return [name_of(one), selector((one.get("spec") or {}).get("podSelector")), age_of(one, now)]


def _quota(one: Json, now: float) -> list[Any]:
    hard: Json = (one.get("spec") or {}).get("hard") or {}
    used: Json = (one.get("status") or {}).get("used") or {}
    told = {name: f"{name}: {used.get(name, 0)}/{amount}" for name, amount in sorted(hard.items())}
    limits = [text for name, text in told.items() if name.startswith("limits.")]
    return [
        name_of(one),
        ", ".join(text for text in told.values() if text not in limits),
        ", ".join(limits),
        age_of(one, now),
    ]


def _endpoints(one: Json, now: float) -> list[Any]:
    found = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in one.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    return [name_of(one), _first(found) or NONE, age_of(one, now)]


def _slice(one: Json, now: float) -> list[Any]:
    ports = [str(port.get("port") or "*") for port in one.get("ports") or ()]
    found = [address for endpoint in one.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    unset = "<unset>"
    return [
        name_of(one),
        one.get("addressType", unset),
        _first(ports) or unset,
        _first(found) or unset,
        age_of(one, now),
    ]


def _first(found: list[str]) -> str:
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")


def _pod_metrics(one: Json, now: float) -> list[Any]:
    del now
    used = [each["usage"] for each in one["containers"]]
    return [name_of(one), *_used(used), one["window"]]


def _node_metrics(one: Json, now: float) -> list[Any]:
    del now
    return [name_of(one), *_used([one["usage"]]), one["window"]]


def _used(used: list[Json]) -> list[str]:
    nanocores = sum(int(each["cpu"].removesuffix("n")) for each in used)
    return [f"{nanocores}n", f"{sum(int(each['memory'].removesuffix('Ki')) for each in used)}Ki"]


def _controller(one: Json, now: float) -> list[Any]:
    selected = {"matchLabels": one["spec"].get("selector")}
    return [*_replica_set(one, now)[:-1], selector(selected)]


def _daemon_set(one: Json, now: float) -> list[Any]:
    status: Json = one.get("status") or {}
    fields = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    counts = [status.get(field, 0) for field in (*fields, "numberAvailable")]
    chosen = _labels(one["spec"]["template"]["spec"].get("nodeSelector"))
    return [name_of(one), *counts, chosen, age_of(one, now), *_template(one)]


def _lease(one: Json, now: float) -> list[Any]:
    return [name_of(one), (one.get("spec") or {}).get("holderIdentity", ""), age_of(one, now)]


def columns(*names: str) -> tuple[Column, ...]:
    """Columns of these names, of the plain kind."""
    return tuple(Column(name) for name in names)


OBJECTS = {
    "configmaps": Table(columns("Name", "Data", "Age"), _counted("data", "binaryData")),
    "secrets": Table(columns("Name", "Type", "Data", "Age"), _secret),
    "serviceaccounts": PLAIN,
    "services": Table(
        (
            *columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"),
            Column("Selector", wide=True),
        ),
        _service,
    ),
    "endpoints": Table(columns("Name", "Endpoints", "Age"), _endpoints),
    "endpointslices.discovery.k8s.io": Table(columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _slice),
    "resourcequotas": Table(columns("Name", "Request", "Limit", "Age"), _quota),
    "poddisruptionbudgets.policy": Table(
        columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"), _budget
    ),
    "networkpolicies.networking.k8s.io": Table(columns("Name", "Pod-Selector", "Age"), _policy),
    "pods.metrics.k8s.io": Table(columns("Name", "CPU", "Memory", "Window"), _pod_metrics),
    "nodes.metrics.k8s.io": Table(columns("Name", "CPU", "Memory", "Window"), _node_metrics),
    "deployments.apps": Table((*columns("Name", "Ready", "Up-to-date", "Available", "Age"), *_CONTAINERS), _deployment),
    "replicasets.apps": Table((*columns("Name", "Desired", "Current", "Ready", "Age"), *_CONTAINERS), _replica_set),
    "replicationcontrollers": Table(
        (*columns("Name", "Desired", "Current", "Ready", "Age"), *_CONTAINERS), _controller
    ),
    "daemonsets.apps": Table(
        (
            *columns("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age"),
            *_CONTAINERS,
        ),
        _daemon_set,
    ),
    "leases.coordination.k8s.io": Table(columns("Name", "Holder", "Age"), _lease),
    "controllerrevisions.apps": Table(columns("Name", "Controller", "Revision", "Age"), _controller_revision),
    "statefulsets.apps": Table((*columns("Name", "Ready", "Age"), *_CONTAINERS[:2]), _stateful_set),
    "jobs.batch": Table((*columns("Name", "Status", "Completions", "Duration", "Age"), *_CONTAINERS), _job),
    "cronjobs.batch": Table(
        (
            *columns("Name", "Schedule", "Timezone", "Suspend", "Active", "Last Schedule", "Age"),
            *_CONTAINERS,
        ),
        _cron_job,
    ),
}
