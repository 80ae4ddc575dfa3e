"""Reviews: who one is, and what one may do."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Time, Wire
from controller.objects.schema.meta import FieldSelectorRequirement, LabelSelectorRequirement, ObjectMeta


class SelfSubjectAccessReview(Part, frozen=True, kw_only=True):
    """A self subject access review: whether the one who asks may do a thing."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SelfSubjectAccessReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectAccessReviewStatus | None, Wire(3)] = None


class SelfSubjectAccessReviewSpec(Part, frozen=True, kw_only=True):
    resourceAttributes: Annotated[ResourceAttributes | None, Wire(1)] = None
    nonResourceAttributes: Annotated[NonResourceAttributes | None, Wire(2)] = None


class ResourceAttributes(Part, frozen=True, kw_only=True):
    namespace: Annotated[str | None, Wire(1)] = None
    verb: Annotated[str | None, Wire(2)] = None
    group: Annotated[str | None, Wire(3)] = None
    version: Annotated[str | None, Wire(4)] = None
    resource: Annotated[str | None, Wire(5)] = None
    subresource: Annotated[str | None, Wire(6)] = None
    name: Annotated[str | None, Wire(7)] = None
    fieldSelector: Annotated[FieldSelectorAttributes | None, Wire(8)] = None
    labelSelector: Annotated[LabelSelectorAttributes | None, Wire(9)] = None


class FieldSelectorAttributes(Part, frozen=True, kw_only=True):
    rawSelector: Annotated[str | None, Wire(1)] = None
    requirements: Annotated[list[FieldSelectorRequirement] | None, Wire(2)] = None


class LabelSelectorAttributes(Part, frozen=True, kw_only=True):
    rawSelector: Annotated[str | None, Wire(1)] = None
    requirements: Annotated[list[LabelSelectorRequirement] | None, Wire(2)] = None


class NonResourceAttributes(Part, frozen=True, kw_only=True):
    path: Annotated[str | None, Wire(1)] = None
    verb: Annotated[str | None, Wire(2)] = None


class SubjectAccessReviewStatus(Part, frozen=True, kw_only=True):
    allowed: Annotated[bool | None, Wire(1, required=True)] = None
    denied: Annotated[bool | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(2)] = None
    evaluationError: Annotated[str | None, Wire(3)] = None


class SelfSubjectRulesReview(Part, frozen=True, kw_only=True):
    """A self subject rules review: what the one who asks may do in a namespace."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SelfSubjectRulesReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectRulesReviewStatus | None, Wire(3)] = None


class SelfSubjectRulesReviewSpec(Part, frozen=True, kw_only=True):
    namespace: Annotated[str | None, Wire(1)] = None


class SubjectRulesReviewStatus(Part, frozen=True, kw_only=True):
    resourceRules: Annotated[list[ResourceRule] | None, Wire(1, required=True)] = None
    nonResourceRules: Annotated[list[NonResourceRule] | None, Wire(2, required=True)] = None
    incomplete: Annotated[bool | None, Wire(3, required=True)] = None
    evaluationError: Annotated[str | None, Wire(4)] = None


class ResourceRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[list[str] | None, Wire(1, required=True)] = None
    apiGroups: Annotated[list[str] | None, Wire(2)] = None
    resources: Annotated[list[str] | None, Wire(3)] = None
    resourceNames: Annotated[list[str] | None, Wire(4)] = None


class NonResourceRule(Part, frozen=True, kw_only=True):
    verbs: Annotated[list[str] | None, Wire(1, required=True)] = None
    nonResourceURLs: Annotated[list[str] | None, Wire(2)] = None


class SubjectAccessReview(Part, frozen=True, kw_only=True):
    """A subject access review: whether somebody may do a thing."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[SubjectAccessReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[SubjectAccessReviewStatus | None, Wire(3)] = None


class LocalSubjectAccessReview(SubjectAccessReview, frozen=True, kw_only=True):
    """A local subject access review: whether somebody may do a thing in one namespace."""


class SubjectAccessReviewSpec(Part, frozen=True, kw_only=True):
    resourceAttributes: Annotated[ResourceAttributes | None, Wire(1)] = None
    nonResourceAttributes: Annotated[NonResourceAttributes | None, Wire(2)] = None
    user: Annotated[str | None, Wire(3)] = None
    groups: Annotated[list[str] | None, Wire(4)] = None
    extra: Annotated[dict[str, list[str]] | None, Wire(5)] = None
    uid: Annotated[str | None, Wire(6)] = None


class SelfSubjectReview(Part, frozen=True, kw_only=True):
    """A self subject review: who the one who asks is."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    status: Annotated[SelfSubjectReviewStatus | None, Wire(2)] = None


class SelfSubjectReviewStatus(Part, frozen=True, kw_only=True):
    userInfo: Annotated[UserInfo | None, Wire(1)] = None


class UserInfo(Part, frozen=True, kw_only=True):
    username: Annotated[str | None, Wire(1)] = None
    uid: Annotated[str | None, Wire(2)] = None
    groups: Annotated[list[str] | None, Wire(3)] = None
    extra: Annotated[dict[str, list[str]] | None, Wire(4)] = None


class TokenReview(Part, frozen=True, kw_only=True):
    """A token review: whose a token is."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[TokenReviewSpec | None, Wire(2, required=True)] = None
    status: Annotated[TokenReviewStatus | None, Wire(3)] = None


class TokenReviewSpec(Part, frozen=True, kw_only=True):
    token: Annotated[str | None, Wire(1)] = None
    audiences: Annotated[list[str] | None, Wire(2)] = None


class TokenReviewStatus(Part, frozen=True, kw_only=True):
    authenticated: Annotated[bool | None, Wire(1)] = None
    user: Annotated[UserInfo | None, Wire(2)] = None
    audiences: Annotated[list[str] | None, Wire(4)] = None
    error: Annotated[str | None, Wire(3)] = None


class TokenRequest(Part, frozen=True, kw_only=True):
    """A token request: a new token of a service account."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[TokenRequestSpec | None, Wire(2)] = None
    status: Annotated[TokenRequestStatus | None, Wire(3)] = None


class TokenRequestSpec(Part, frozen=True, kw_only=True):
    audiences: Annotated[list[str] | None, Wire(1)] = None
    expirationSeconds: Annotated[int | None, Wire(4, zero_counts=True)] = None
    boundObjectRef: Annotated[BoundObjectReference | None, Wire(3)] = None
    attestations: Annotated[dict[str, list[str]] | None, Wire(5)] = None


class BoundObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str | None, Wire(1)] = None
    apiVersion: Annotated[str | None, Wire(2)] = None
    name: Annotated[str | None, Wire(3)] = None
    uid: Annotated[str | None, Wire(4)] = None


class TokenRequestStatus(Part, frozen=True, kw_only=True):
    token: Annotated[str | None, Wire(1)] = None
    expirationTimestamp: Annotated[Time | None, Wire(2)] = None
