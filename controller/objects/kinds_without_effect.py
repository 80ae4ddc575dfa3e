"""Kinds that whole applications bring along and that have no effect here: kept, and said aloud. Pure.

What is refused would end `kubectl apply` of all the rest with an error; what is kept in silence would pass for done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.objects.fields import Json
from controller.objects.resource import STATUS, Resource, Subresource
from controller.objects.schema import coordination, core, networking, policies, rbac, storage
from controller.objects.storage_kinds import NOBODY_MAKES_VOLUMES

_KEPT = "is kept, and has no effect here"
_DOORS = "nothing opens a door to the outside; dial a Service by its name from a pod, or use kubectl port-forward"


def _says(sentence: str) -> Callable[[Json], Sequence[str]]:
    return lambda _one: (sentence,)


STORAGE_CLASSES = Resource(
    name="storageclasses",
    kind="StorageClass",
    type=storage.StorageClass,
    group="storage.k8s.io",
    namespaced=False,
    short=("sc",),
    warnings=_says(f"this StorageClass {_KEPT} but as a name that claims and volumes share: {NOBODY_MAKES_VOLUMES}"),
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
# The same objects in another form, which is made of them and made into them.
FIRST_AUTOSCALERS = Resource(
    name="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    type=coordination.ProcessorAutoscaler,
    group="autoscaling",
    short=("hpa",),
    verbs=("create", "delete", "get", "list", "patch", "update"),
)
LIMIT_RANGES = Resource(
    name="limitranges",
    kind="LimitRange",
    type=core.LimitRange,
    short=("limits",),
    warnings=_says(f"this LimitRange {_KEPT}: no container gets a size of it, and none is refused for it"),
)
BUDGETS = Resource(
    name="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    type=policies.PodDisruptionBudget,
    group="policy",
    short=("pdb",),
    subresources=(Subresource("status", "PodDisruptionBudget", STATUS),),
    generation=True,
    warnings=_says(f"this PodDisruptionBudget {_KEPT}: no node is ever drained, each pod has its own cell"),
)
NETWORK_POLICIES = Resource(
    name="networkpolicies",
    kind="NetworkPolicy",
    type=networking.NetworkPolicy,
    group="networking.k8s.io",
    short=("netpol",),
    generation=True,
    warnings=_says(f"this NetworkPolicy {_KEPT}: traffic between cells is held by the cloud's security groups"),
)
PRIORITY_CLASSES = Resource(
    name="priorityclasses",
    kind="PriorityClass",
    type=policies.PriorityClass,
    group="scheduling.k8s.io",
    namespaced=False,
    short=("pc",),
    warnings=_says(f"this PriorityClass {_KEPT}: every pod gets a cell of its own, none must give way"),
)
_RIGHTS = f"{_KEPT}: rights come with tokens (chinampa token create --role)"
_RBAC = "rbac.authorization.k8s.io"
RIGHTS = tuple(
    Resource(
        name=f"{kind.__name__.lower()}s",
        kind=kind.__name__,
        type=kind,
        group=_RBAC,
        namespaced=not kind.__name__.startswith("Cluster"),
        warnings=_says(f"this {kind.__name__} {_RIGHTS}"),
    )
    for kind in (rbac.Role, rbac.RoleBinding, rbac.ClusterRole, rbac.ClusterRoleBinding)
)
WITHOUT_EFFECT = (
    *(STORAGE_CLASSES, INGRESSES, INGRESS_CLASSES, AUTOSCALERS, LIMIT_RANGES),
    *(BUDGETS, NETWORK_POLICIES, PRIORITY_CLASSES, *RIGHTS),
)
