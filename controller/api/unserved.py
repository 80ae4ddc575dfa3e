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


_CLUSTER = "use a cluster, with the shim beside its kubelet"
_NOT_CALLED = f"nothing would call it, and what it guards against would pass; {_CLUSTER}"
NAMESPACED = True
SHORT = {
    "daemonsets": ("ds",),
    "persistentvolumeclaims": ("pvc",),
    "persistentvolumes": ("pv",),
    "replicationcontrollers": ("rc",),
    "storageclasses": ("sc",),
    "ingresses": ("ing",),
    "horizontalpodautoscalers": ("hpa",),
    "customresourcedefinitions": ("crd", "crds"),
    "certificatesigningrequests": ("csr",),
    "limitranges": ("limits",),
}
KINDS = (
    Unserved("", "v1", "podtemplates", "PodTemplate", NAMESPACED, "put the template into a Job or Deployment"),
    Unserved(
        *("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", not NAMESPACED),
        f"operators need an API server of their own; {_CLUSTER}",
    ),
    *(
        Unserved("admissionregistration.k8s.io", "v1", f"{name}s", kind, not NAMESPACED, _NOT_CALLED)
        for name, kind in (
            ("mutatingwebhookconfiguration", "MutatingWebhookConfiguration"),
            ("validatingwebhookconfiguration", "ValidatingWebhookConfiguration"),
            ("validatingadmissionpolicie", "ValidatingAdmissionPolicy"),
            ("validatingadmissionpolicybinding", "ValidatingAdmissionPolicyBinding"),
        )
    ),
    Unserved("apiregistration.k8s.io", "v1", "apiservices", "APIService", not NAMESPACED, _CLUSTER),
    Unserved("storage.k8s.io", "v1", "csidrivers", "CSIDriver", not NAMESPACED, f"no node runs drivers; {_CLUSTER}"),
    Unserved(
        *("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", not NAMESPACED),
        "there is one runtime, and it has a machine of its own for each pod",
    ),
    Unserved(
        *("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", not NAMESPACED),
        f"nobody here signs; {_CLUSTER}",
    ),
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
        short=SHORT.get(one.name, ()),
        verbs=("create",),
    )


def sentence(one: Unserved, served: str) -> str:
    """What a person is told who sends such an object."""
    return f"{one.kind} is not served here: {one.instead}; this server runs {served}"
