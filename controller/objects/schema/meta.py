"""What the objects of all kinds have: metadata, owners, selectors."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Loose, Part, Time, Wire


class ObjectMeta(Part, frozen=True, kw_only=True):
    """The metadata of an object: its name, labels and history."""

    name: Annotated[str, Wire(1)] = ""
    generateName: Annotated[str, Wire(2)] = ""
    namespace: Annotated[str, Wire(3)] = ""
    selfLink: Annotated[str, Wire(4)] = ""
    uid: Annotated[str, Wire(5)] = ""
    resourceVersion: Annotated[str, Wire(6)] = ""
    generation: Annotated[int, Wire(7)] = 0
    creationTimestamp: Annotated[Time | None, Wire(8)] = None
    deletionTimestamp: Annotated[Time | None, Wire(9)] = None
    deletionGracePeriodSeconds: Annotated[int | None, Wire(10)] = None
    labels: Annotated[dict[str, str], Wire(11)] = {}
    annotations: Annotated[dict[str, str], Wire(12)] = {}
    ownerReferences: Annotated[tuple[OwnerReference, ...], Wire(13, keys=("uid",))] = ()
    finalizers: Annotated[tuple[str, ...], Wire(14, joins=True, is_set=True)] = ()
    managedFields: Annotated[tuple[ManagedFieldsEntry, ...], Wire(17)] = ()


class OwnerReference(Part, frozen=True, kw_only=True):
    apiVersion: Annotated[str, Wire(5, required=True)] = ""
    kind: Annotated[str, Wire(1, required=True)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""
    uid: Annotated[str, Wire(4, required=True)] = ""
    controller: Annotated[bool | None, Wire(6, zero_counts=True)] = None
    blockOwnerDeletion: Annotated[bool | None, Wire(7, zero_counts=True)] = None


class ManagedFieldsEntry(Part, frozen=True, kw_only=True):
    manager: Annotated[str, Wire(1)] = ""
    operation: Annotated[str, Wire(2)] = ""
    apiVersion: Annotated[str, Wire(3)] = ""
    time: Annotated[Time | None, Wire(4)] = None
    fieldsType: Annotated[str, Wire(6)] = ""
    fieldsV1: Annotated[Loose | None, Wire(7)] = None
    subresource: Annotated[str, Wire(8)] = ""


class LabelSelector(Part, frozen=True, kw_only=True):
    matchLabels: Annotated[dict[str, str], Wire(1)] = {}
    matchExpressions: Annotated[tuple[LabelSelectorRequirement, ...], Wire(2)] = ()


class LabelSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1, required=True)] = ""
    operator: Annotated[str, Wire(2, required=True)] = ""
    values: Annotated[tuple[str, ...], Wire(3)] = ()


class Condition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    observedGeneration: Annotated[int, Wire(3)] = 0
    lastTransitionTime: Annotated[Time | None, Wire(4, required=True)] = None
    reason: Annotated[str, Wire(5, required=True)] = ""
    message: Annotated[str, Wire(6, required=True)] = ""


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
    uid: Annotated[str, Wire(1)] = ""
    resourceVersion: Annotated[str, Wire(2)] = ""


class FieldSelectorRequirement(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1, required=True)] = ""
    operator: Annotated[str, Wire(2, required=True)] = ""
    values: Annotated[tuple[str, ...], Wire(3)] = ()
