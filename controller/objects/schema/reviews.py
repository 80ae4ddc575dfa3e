"""Reviews: who one is, and what one may do."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Time, Wire
from controller.objects.schema.meta import FieldSelectorRequirement, LabelSelectorRequirement, ObjectMeta


class SelfSubjectAccessReview(Part, frozen=True, kw_only=True):
    """A self subject access review: whether the caller may do a thing."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SelfSubjectAccessReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectAccessReviewStatus | None, Wire(3)] = None


class SelfSubjectAccessReviewSpec(Part, frozen=True, kw_only=True):
    resourceAttributes: Annotated[ResourceAttributes | None, Wire(1)] = None
    nonResourceAttributes: Annotated[NonResourceAttributes | None, Wire(2)] = None


class ResourceAttributes(Part, frozen=True, kw_only=True):
    namespace: Annotated[str, Wire(1)] = ""
    verb: Annotated[str, Wire(2)] = ""
    group: Annotated[str, Wire(3)] = ""
    version: Annotated[str, Wire(4)] = ""
    resource: Annotated[str, Wire(5)] = ""
    subresource: Annotated[str, Wire(6)] = ""
    name: Annotated[str, Wire(7)] = ""
    fieldSelector: Annotated[FieldSelectorAttributes | None, Wire(8)] = None
    labelSelector: Annotated[LabelSelectorAttributes | None, Wire(9)] = None


class FieldSelectorAttributes(Part, frozen=True, kw_only=True):
    rawSelector: Annotated[str, Wire(1)] = ""
    requirements: Annotated[tuple[FieldSelectorRequirement, ...], Wire(2)] = ()


class LabelSelectorAttributes(Part, frozen=True, kw_only=True):
    rawSelector: Annotated[str, Wire(1)] = ""
    requirements: Annotated[tuple[LabelSelectorRequirement, ...], Wire(2)] = ()


class NonResourceAttributes(Part, frozen=True, kw_only=True):
    path: Annotated[str, Wire(1)] = ""
    verb: Annotated[str, Wire(2)] = ""


class SubjectAccessReviewStatus(Part, frozen=True, kw_only=True):
    allowed: Annotated[bool, Wire(1, required=True)] = False
    denied: Annotated[bool, Wire(4)] = False
    reason: Annotated[str, Wire(2)] = ""
    evaluationError: Annotated[str, Wire(3)] = ""


class SelfSubjectRulesReview(Part, frozen=True, kw_only=True):
    """A self subject rules review: what the caller may do in a namespace."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SelfSubjectRulesReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectRulesReviewStatus | None, Wire(3)] = None


class SelfSubjectRulesReviewSpec(Part, frozen=True, kw_only=True):
    namespace: Annotated[str, Wire(1)] = ""


class SubjectRulesReviewStatus(Part, frozen=True, kw_only=True):
    resourceRules: Annotated[tuple[ResourceRule, ...], Wire(1, required=True)] = ()
    nonResourceRules: Annotated[tuple[NonResourceRule, ...], Wire(2, required=True)] = ()
    incomplete: Annotated[bool, Wire(3, required=True)] = False
    evaluationError: Annotated[str, Wire(4)] = ""


class ResourceRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[tuple[str, ...], Wire(1, required=True)] = ()
    apiGroups: Annotated[tuple[str, ...], Wire(2)] = ()
    resources: Annotated[tuple[str, ...], Wire(3)] = ()
    resourceNames: Annotated[tuple[str, ...], Wire(4)] = ()


class NonResourceRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[tuple[str, ...], Wire(1, required=True)] = ()
    nonResourceURLs: Annotated[tuple[str, ...], Wire(2)] = ()


class SubjectAccessReview(Part, frozen=True, kw_only=True):
    """A subject access review: whether somebody may do a thing."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SubjectAccessReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectAccessReviewStatus | None, Wire(3)] = None


class LocalSubjectAccessReview(SubjectAccessReview, frozen=True, kw_only=True):
    """A local subject access review: whether somebody may do a thing in one namespace."""


class SubjectAccessReviewSpec(Part, frozen=True, kw_only=True):
    resourceAttributes: Annotated[ResourceAttributes | None, Wire(1)] = None
    nonResourceAttributes: Annotated[NonResourceAttributes | None, Wire(2)] = None
    user: Annotated[str, Wire(3)] = ""
    groups: Annotated[tuple[str, ...], Wire(4)] = ()
    extra: Annotated[dict[str, list[str]], Wire(5)] = {}
    uid: Annotated[str, Wire(6)] = ""


class SelfSubjectReview(Part, frozen=True, kw_only=True):
    """A self subject review: who the caller is."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    status: Annotated[SelfSubjectReviewStatus | None, Wire(2)] = None


class SelfSubjectReviewStatus(Part, frozen=True, kw_only=True):
    userInfo: Annotated[UserInfo | None, Wire(1)] = None


class UserInfo(Part, frozen=True, kw_only=True):
    username: Annotated[str, Wire(1)] = ""
    uid: Annotated[str, Wire(2)] = ""
    groups: Annotated[tuple[str, ...], Wire(3)] = ()
    extra: Annotated[dict[str, list[str]], Wire(4)] = {}


class TokenReview(Part, frozen=True, kw_only=True):
    """A token review: whose a token is."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[TokenReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[TokenReviewStatus | None, Wire(3)] = None


class TokenReviewSpec(Part, frozen=True, kw_only=True):
    token: Annotated[str, Wire(1)] = ""
    audiences: Annotated[tuple[str, ...], Wire(2)] = ()


class TokenReviewStatus(Part, frozen=True, kw_only=True):
    authenticated: Annotated[bool, Wire(1)] = False
    user: Annotated[UserInfo | None, Wire(2)] = None
    audiences: Annotated[tuple[str, ...], Wire(4)] = ()
    error: Annotated[str, Wire(3)] = ""


class TokenRequest(Part, frozen=True, kw_only=True):
    """A token request: a new token of a service account."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[TokenRequestSpec | None, Wire(2)] = None
    status: Annotated[TokenRequestStatus | None, Wire(3)] = None


class TokenRequestSpec(Part, frozen=True, kw_only=True):
    audiences: Annotated[tuple[str, ...], Wire(1)] = ()
    expirationSeconds: Annotated[int | None, Wire(4, zero_counts=True)] = None
    boundObjectRef: Annotated[BoundObjectReference | None, Wire(3)] = None
    attestations: Annotated[dict[str, list[str]], Wire(5)] = {}


class BoundObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str, Wire(1)] = ""
    apiVersion: Annotated[str, Wire(2)] = ""
    name: Annotated[str, Wire(3)] = ""
    uid: Annotated[str, Wire(4)] = ""


class TokenRequestStatus(Part, frozen=True, kw_only=True):
    token: Annotated[str, Wire(1)] = ""
    expirationTimestamp: Annotated[Time | None, Wire(2)] = None
