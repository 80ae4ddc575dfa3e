"""The whole table of kinds that this API serves, put together of what each room brings. Pure."""

from __future__ import annotations

from controller.objects.kinds import EVENTS, NAMESPACES, NODES, STORED
from controller.objects.resource import Resource
from controller.objects.schema import meta, metrics, policies, reviews
from controller.objects.schema.base import Part
from controller.pods.kind import PODS, PodTemplates
from controller.workloads import workload_kinds as workloads


def _review(kind: type[Part], group: str, *, namespaced: bool = False) -> Resource:
    name = f"{kind.__name__.lower()}s"
    return Resource(name=name, kind=kind.__name__, type=kind, group=group, namespaced=namespaced, verbs=("create",))


AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
ACCESS_REVIEWS = _review(reviews.SelfSubjectAccessReview, AUTHORIZATION)
RULES_REVIEWS = _review(reviews.SelfSubjectRulesReview, AUTHORIZATION)
OTHERS_REVIEWS = _review(reviews.SubjectAccessReview, AUTHORIZATION)
LOCAL_REVIEWS = _review(reviews.LocalSubjectAccessReview, AUTHORIZATION, namespaced=True)
SELF_REVIEWS = _review(reviews.SelfSubjectReview, AUTHENTICATION)
TOKEN_REVIEWS = _review(reviews.TokenReview, AUTHENTICATION)
REVIEWS = (ACCESS_REVIEWS, RULES_REVIEWS, OTHERS_REVIEWS, LOCAL_REVIEWS, SELF_REVIEWS, TOKEN_REVIEWS)


def _measured(name: str, kind: type[Part], *, namespaced: bool) -> Resource:
    return Resource(
        name=name,
        kind=kind.__name__,
        type=kind,
        group="metrics.k8s.io",
        version="v1beta1",
        namespaced=namespaced,
        verbs=("get", "list"),
    )


POD_METRICS = _measured("pods", metrics.PodMetrics, namespaced=True)
NODE_METRICS = _measured("nodes", metrics.NodeMetrics, namespaced=False)
METRICS = (POD_METRICS, NODE_METRICS)
WORKLOADS = workloads.resources(PodTemplates())
# Kinds whose objects are kept, by whomever.
KEPT = (PODS, NAMESPACES, NODES, EVENTS, *STORED, *WORKLOADS)
# Types that a body in protobuf may be of.
KINDS: dict[str, type[Part]] = {
    **{one.kind: one.type for one in (*KEPT, *REVIEWS)},
    "DeleteOptions": meta.DeleteOptions,
    "Eviction": policies.Eviction,
    "Scale": policies.Scale,
    "TokenRequest": reviews.TokenRequest,
}
