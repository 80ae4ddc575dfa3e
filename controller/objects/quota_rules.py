"""Quotas: what objects take of those of their namespace, by Kubernetes' own names and rules. Pure.

Beside them `chinampa.dev/usd-per-hour` bounds what the cells of a namespace's pods cost. A pod that has ended takes
nothing but its count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from math import ceil
from typing import Any

from cellwire.faults import Fault
from controller.choice.demand import GPU_VENDORS
from controller.choice.quantity import SUFFIXES, quantity
from controller.objects.fields import Json
from controller.objects.pod_demand import limits, requests, spec_of, total
from controller.objects.schema.pods import PodSpec

USD_PER_HOUR = "chinampa.dev/usd-per-hour"
# Kinds that can be counted by their name alone.
PLAIN = frozenset({"pods", "services", "secrets", "configmaps", "resourcequotas"})
COMPUTE = ("cpu", "memory", "ephemeral-storage")
# A quota of these wants to know of every container how much it is.
TO_BE_SAID = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_SERVICES = {"services.loadbalancers": ("LoadBalancer",), "services.nodeports": ("NodePort", "LoadBalancer")}
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")
Taken = Mapping[str, Decimal]


def known(name: str) -> bool:
    """Whether a quota of this name is counted here."""
    of, _, resource = name.partition(".")
    if of in {"requests", "limits"} and resource:
        return resource in COMPUTE or (of == "requests" and resource in GPU_VENDORS)
    return name.startswith("count/") or name in {*PLAIN, *COMPUTE, USD_PER_HOUR, "services.nodeports", *_SERVICES}


def taken(key: str, one: Json, usd_per_hour: Callable[[Json], float]) -> dict[str, Decimal]:
    """What an object of the kind `key` takes of everything that a quota can bound."""
    found = {f"count/{key}": Decimal(1)}
    if key == "pods":
        return found if ended(one) else {**found, "pods": Decimal(1), **_computed(one["spec"], usd_per_hour(one))}
    if key in PLAIN:
        found[key] = Decimal(1)
    if key == "services":
        kind = (one.get("spec") or {}).get("type", "ClusterIP")
        found |= {name: Decimal(1) for name, kinds in _SERVICES.items() if kind in kinds}
    return found


def ended(pod: Json) -> bool:
    """Whether nothing of a pod runs any more, or will."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def _computed(spec: Json, usd_per_hour: float) -> dict[str, Decimal]:
    typed = _typed(spec)
    asked, bound = total(typed, requests), total(typed, limits)
    found = {USD_PER_HOUR: Decimal(f"{usd_per_hour:.6f}")}
    for name in COMPUTE:
        found[name] = found[f"requests.{name}"] = asked.get(name, Decimal(0))
        found[f"limits.{name}"] = bound.get(name, Decimal(0))
    return {**found, **{f"requests.{name}": asked.get(name, Decimal(0)) for name in GPU_VENDORS}}


def _typed(spec: Json) -> PodSpec:
    """A pod's specification; an empty one of a pod that cannot be read, which runs nothing."""
    try:
        return spec_of(spec)
    except Fault:
        return PodSpec()


def concerns(quota: Json, key: str, one: Json) -> bool:
    """Whether the quota's scopes hold for an object."""
    spec: Json = quota.get("spec") or {}
    wanted: list[Json] = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return not wanted or (key == "pods" and all(_in_scope(each, one["spec"]) for each in wanted))


def _in_scope(wanted: Json, spec: Json) -> bool:
    match wanted.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return _best_effort(spec)
        case "NotBestEffort":
            return not _best_effort(spec)
        case "PriorityClass":
            return _named(wanted, spec.get("priorityClassName") or "")
        case _:
            return False


def _named(wanted: Json, name: str) -> bool:
    values = wanted.get("values") or ()
    match wanted.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
        case _:
            return bool(name)


def _best_effort(spec: Json) -> bool:
    typed = _typed(spec)
    return not any(total(typed, of).get(name) for of in (requests, limits) for name in ("cpu", "memory"))


def used(quota: Json, objects: Iterable[tuple[str, Json]], usd_per_hour: Callable[[Json], float]) -> dict[str, Decimal]:
    """How much of each thing that the quota bounds these objects take, by their kinds."""
    found = {name: Decimal(0) for name in bounds(quota)}
    for key, one in objects:
        if concerns(quota, key, one):
            for name, amount in taken(key, one, usd_per_hour).items():
                if name in found:
                    found[name] += amount
    return found


def bounds(quota: Json) -> dict[str, Decimal]:
    """What the quota bounds, as far as it is counted here."""
    hard: Json = (quota.get("spec") or {}).get("hard") or {}
    return {name: quantity(amount) for name, amount in hard.items() if known(name)}


def refusal(quota: Json, key: str, one: Json, used_now: Taken, asked: Taken) -> str:
    """Why the quota does not let an object in, as Kubernetes words it; "" where it does."""
    hard, name = bounds(quota), quota["metadata"]["name"]
    if key == "pods" and (unsaid := _unsaid(one["spec"], hard)):
        return f"failed quota: {name}: must specify {unsaid}"
    over = sorted(
        each for each, amount in asked.items() if each in hard and amount and used_now[each] + amount > hard[each]
    )
    if not over:
        return ""
    shown = [_listed(over, amounts, quota["spec"]["hard"]) for amounts in (asked, used_now, hard)]
    return f"exceeded quota: {name}, requested: {shown[0]}, used: {shown[1]}, limited: {shown[2]}"


def _unsaid(spec: Json, hard: Taken) -> str:
    missing: list[str] = []
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    for each in (name for name in TO_BE_SAID if name in hard):
        part, _, resource = each.rpartition(".")
        of = [one["name"] for one in containers if resource not in _said(one, part or "requests")]
        if of:
            missing.append(f"{each} for: {','.join(of)}")
    return "; ".join(missing)


def _said(container: Json, part: str) -> Json:
    return (container.get("resources") or {}).get(part) or {}


def _listed(names: Iterable[str], amounts: Taken, like: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={written(name, amounts[name], str(like[name]))}" for name in names)


def written(name: str, amount: Decimal, like: str) -> str:
    """An amount as a quantity, in binary units where `like` is written so; money as a plain number."""
    if name == USD_PER_HOUR:
        return f"{amount.normalize():f}"
    if any(like.endswith(unit) for unit in _BINARY) and amount:
        for unit in _BINARY:
            if amount % SUFFIXES[unit] == 0:
                return f"{int(amount / SUFFIXES[unit])}{unit}"
    if amount == int(amount):
        return str(int(amount))
    return f"{ceil(amount * 1000)}m"
