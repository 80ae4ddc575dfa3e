"""What other types refer to objects by, and amounts of resources."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire


class KeyToPath(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1, required=True)] = ""
    path: Annotated[str, Wire(2, required=True)] = ""
    mode: Annotated[int | None, Wire(3, zero_counts=True)] = None
    user: Annotated[int, Wire(4)] = 0


class LocalObjectReference(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""


class ObjectFieldSelector(Part, frozen=True, kw_only=True):
    apiVersion: Annotated[str, Wire(1)] = ""
    fieldPath: Annotated[str, Wire(2, required=True)] = ""


class ResourceFieldSelector(Part, frozen=True, kw_only=True):
    containerName: Annotated[str, Wire(1)] = ""
    resource: Annotated[str, Wire(2, required=True)] = ""
    divisor: Annotated[Quantity | None, Wire(3)] = None


class VolumeResourceRequirements(Part, frozen=True, kw_only=True):
    limits: Annotated[dict[str, Quantity], Wire(1)] = {}
    requests: Annotated[dict[str, Quantity], Wire(2)] = {}


class TypedLocalObjectReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str, Wire(1)] = ""
    kind: Annotated[str, Wire(2, required=True)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""


class TypedObjectReference(Part, frozen=True, kw_only=True):
    apiGroup: Annotated[str, Wire(1)] = ""
    kind: Annotated[str, Wire(2, required=True)] = ""
    name: Annotated[str, Wire(3, required=True)] = ""
    namespace: Annotated[str, Wire(4)] = ""


class ConfigMapKeySelector(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    key: Annotated[str, Wire(2, required=True)] = ""
    optional: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class SecretKeySelector(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    key: Annotated[str, Wire(2, required=True)] = ""
    optional: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class ResourceRequirements(Part, frozen=True, kw_only=True):
    limits: Annotated[dict[str, Quantity], Wire(1)] = {}
    requests: Annotated[dict[str, Quantity], Wire(2)] = {}
    claims: Annotated[tuple[ResourceClaim, ...], Wire(3, keys=("name",))] = ()


class ResourceClaim(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    request: Annotated[str, Wire(2)] = ""


class Toleration(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1)] = ""
    operator: Annotated[str, Wire(2)] = ""
    value: Annotated[str, Wire(3)] = ""
    effect: Annotated[str, Wire(4)] = ""
    tolerationSeconds: Annotated[int | None, Wire(5, zero_counts=True)] = None


class Taint(Part, frozen=True, kw_only=True):
    key: Annotated[str, Wire(1, required=True)] = ""
    value: Annotated[str, Wire(2)] = ""
    effect: Annotated[str, Wire(3, required=True)] = ""
    timeAdded: Annotated[Time | None, Wire(4)] = None


class ObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str, Wire(1)] = ""
    namespace: Annotated[str, Wire(2)] = ""
    name: Annotated[str, Wire(3)] = ""
    uid: Annotated[str, Wire(4)] = ""
    apiVersion: Annotated[str, Wire(5)] = ""
    resourceVersion: Annotated[str, Wire(6)] = ""
    fieldPath: Annotated[str, Wire(7)] = ""
