"""What the objects of all kinds have: metadata, owners, selectors."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Loose, Part, Time, Wire


class ObjectMeta(Part, frozen=True, kw_only=True):
    """The metadata of an object: its name, labels and history."""

    name: Annotated[str | None, Wire(1)] = None
    generateName: Annotated[str | None, Wire(2)] = None
    namespace: Annotated[str | None, Wire(3)] = None
    selfLink: Annotated[str | None, Wire(4)] = None
    uid: Annotated[str | None, Wire(5)] = None
    resourceVersion: Annotated[str | None, Wire(6)] = None
    generation: Annotated[int | None, Wire(7)] = None
    creationTimestamp: Annotated[Time | None, Wire(8)] = None
    deletionTimestamp: Annotated[Time | None, Wire(9)] = None
    deletionGracePeriodSeconds: Annotated[int | None, Wire(10)] = None
    labels: Annotated[dict[str, str] | None, Wire(11)] = None
    annotations: Annotated[dict[str, str] | None, Wire(12)] = None
    ownerReferences: Annotated[list[OwnerReference] | None, Wire(13, keys=("uid",))] = None
    finalizers: Annotated[list[str] | None, Wire(14, joins=True, is_set=True)] = None
    managedFields: Annotated[list[ManagedFieldsEntry] | None, Wire(17)] = None


class OwnerReference(Part, frozen=True, kw_only=True):
    apiVersion: Annotated[str | None, Wire(5, required=True)] = None
    kind: Annotated[str | None, Wire(1, required=True)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None
    uid: Annotated[str | None, Wire(4, required=True)] = None
    controller: Annotated[bool | None, Wire(6, zero_counts=True)] = None
    blockOwnerDeletion: Annotated[bool | None, Wire(7, zero_counts=True)] = None


class ManagedFieldsEntry(Part, frozen=True, kw_only=True):
    manager: Annotated[str | None, Wire(1)] = None
    operation: Annotated[str | None, Wire(2)] = None
    apiVersion: Annotated[str | None, Wire(3)] = None
    time: Annotated[Time | None, Wire(4)] = None
    fieldsType: Annotated[str | None, Wire(6)] = None
    fieldsV1: Annotated[Loose | None, Wire(7)] = None
    subresource: Annotated[str | None, Wire(8)] = None


class LabelSelector(Part, frozen=True, kw_only=True):
    matchLabels: Annotated[dict[str, str] | None, Wire(1)] = None
    matchExpressions: Annotated[list[LabelSelectorRequirement] | None, Wire(2)] = None


class LabelSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1, required=True)] = None
    operator: Annotated[str | None, Wire(2, required=True)] = None
    values: Annotated[list[str] | None, Wire(3)] = None


class Condition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    observedGeneration: Annotated[int | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4, required=True)] = None
    reason: Annotated[str | None, Wire(5, required=True)] = None
    message: Annotated[str | None, Wire(6, required=True)] = None


class DeleteOptions(Part, frozen=True, kw_only=True):
    """The options of a deletion."""

    apiVersion: str | None = None
    kind: str | None = None
    gracePeriodSeconds: Annotated[int | None, Wire(1)] = None
    preconditions: Annotated[Preconditions | None, Wire(2)] = None
    orphanDependents: Annotated[bool | None, Wire(3)] = None
    propagationPolicy: Annotated[str | None, Wire(4)] = None
    dryRun: Annotated[list[str] | None, Wire(5)] = None
    ignoreStoreReadErrorWithClusterBreakingPotential: Annotated[bool | None, Wire(6)] = None


class Preconditions(Part, frozen=True, kw_only=True):
    uid: Annotated[str | None, Wire(1)] = None
    resourceVersion: Annotated[str | None, Wire(2)] = None


class FieldSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1, required=True)] = None
    operator: Annotated[str | None, Wire(2, required=True)] = None
    values: Annotated[list[str] | None, Wire(3)] = None
