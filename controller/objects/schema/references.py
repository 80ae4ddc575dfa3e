"""What other types refer to objects by, and amounts of resources."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire


class KeyToPath(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1, required=True)] = None
    path: Annotated[str | None, Wire(2, required=True)] = None
    mode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    user: Annotated[int | None, Wire(4)] = None


class LocalObjectReference(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None


class ObjectFieldSelector(Part, frozen=True, kw_only=True):
    apiVersion: Annotated[str | None, Wire(1)] = None
    fieldPath: Annotated[str | None, Wire(2, required=True)] = None


class ResourceFieldSelector(Part, frozen=True, kw_only=True):
    containerName: Annotated[str | None, Wire(1)] = None
    resource: Annotated[str | None, Wire(2, required=True)] = None
    divisor: Annotated[Quantity | None, Wire(3)] = None


class VolumeResourceRequirements(Part, frozen=True, kw_only=True):
    limits: Annotated[dict[str, Quantity] | None, Wire(1)] = None
    requests: Annotated[dict[str, Quantity] | None, Wire(2)] = None


class TypedLocalObjectReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str | None, Wire(1)] = None
    kind: Annotated[str | None, Wire(2, required=True)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None


class TypedObjectReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str | None, Wire(1)] = None
    kind: Annotated[str | None, Wire(2, required=True)] = None
    name: Annotated[str | None, Wire(3, required=True)] = None
    namespace: Annotated[str | None, Wire(4)] = None


class ConfigMapKeySelector(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    key: Annotated[str | None, Wire(2, required=True)] = None
    optional: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class SecretKeySelector(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    key: Annotated[str | None, Wire(2, required=True)] = None
    optional: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class ResourceRequirements(Part, frozen=True, kw_only=True):
    limits: Annotated[dict[str, Quantity] | None, Wire(1)] = None
    requests: Annotated[dict[str, Quantity] | None, Wire(2)] = None
    claims: Annotated[list[ResourceClaim] | None, Wire(3, keys=("name",))] = None


class ResourceClaim(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    request: Annotated[str | None, Wire(2)] = None


class Toleration(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1)] = None
    operator: Annotated[str | None, Wire(2)] = None
    value: Annotated[str | None, Wire(3)] = None
    effect: Annotated[str | None, Wire(4)] = None
    tolerationSeconds: Annotated[int | None, Wire(5, zero_counts=True)] = None


class Taint(Part, frozen=True, kw_only=True):
    key: Annotated[str | None, Wire(1, required=True)] = None
    value: Annotated[str | None, Wire(2)] = None
    effect: Annotated[str | None, Wire(3, required=True)] = None
    timeAdded: Annotated[Time | None, Wire(4)] = None


class ObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str | None, Wire(1)] = None
    namespace: Annotated[str | None, Wire(2)] = None
    name: Annotated[str | None, Wire(3)] = None
    uid: Annotated[str | None, Wire(4)] = None
    apiVersion: Annotated[str | None, Wire(5)] = None
    resourceVersion: Annotated[str | None, Wire(6)] = None
    fieldPath: Annotated[str | None, Wire(7)] = None
