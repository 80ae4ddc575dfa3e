"""Kinds of Kubernetes that are not served here: named in discovery, so that kubectl asks and hears why. Pure.

What discovery does not name, kubectl refuses by itself ("no matches for kind"), and no server can say a word to that.
"""

from __future__ import annotations

from typing import NamedTuple

from controller.objects.resource import Resource
from controller.objects.schema.base import Part


class Unserved(NamedTuple):
    """A kind that is not served, and what to do instead."""

    group: str
    version: str
    name: str
    kind: str
    namespaced: bool
    instead: str


_CLAIMS = "keep what must last in an object store or a database; emptyDir is for what may be lost"
_CLUSTER = "use a cluster, with the shim beside its kubelet"
_DOORS = "dial a Service by its name from a pod, or use kubectl port-forward"
NAMESPACED = True
KINDS = (
    Unserved("apps", "v1", "daemonsets", "DaemonSet", NAMESPACED, f"there are no nodes to run one on each; {_CLUSTER}"),
    Unserved("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", NAMESPACED, _CLAIMS),
    Unserved("", "v1", "persistentvolumes", "PersistentVolume", not NAMESPACED, _CLAIMS),
    Unserved("", "v1", "podtemplates", "PodTemplate", NAMESPACED, "put the template into a Job or Deployment"),
    Unserved("", "v1", "replicationcontrollers", "ReplicationController", NAMESPACED, "use a Deployment"),
    Unserved("storage.k8s.io", "v1", "storageclasses", "StorageClass", not NAMESPACED, _CLAIMS),
    Unserved("networking.k8s.io", "v1", "ingresses", "Ingress", NAMESPACED, _DOORS),
    Unserved("networking.k8s.io", "v1", "ingressclasses", "IngressClass", not NAMESPACED, _DOORS),
    Unserved(
        *("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", NAMESPACED),
        "scale by kubectl scale, or from a CronJob",
    ),
    Unserved(
        *("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", not NAMESPACED),
        f"operators need an API server of their own; {_CLUSTER}",
    ),
    *(
        Unserved("admissionregistration.k8s.io", "v1", f"{kind.lower()}s", kind, not NAMESPACED, _CLUSTER)
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    ),
    Unserved("apiregistration.k8s.io", "v1", "apiservices", "APIService", not NAMESPACED, _CLUSTER),
)


def resource_of(one: Unserved) -> Resource:
    """The kind as discovery shows it."""
    return Resource(
        name=one.name,
        kind=one.kind,
        type=Part,
        group=one.group,
        version=one.version,
        namespaced=one.namespaced,
        verbs=("create",),
    )


def sentence(one: Unserved, served: str) -> str:
    """What a person is told who sends such an object."""
    return f"{one.kind} is not served here: {one.instead}; this server runs {served}"
