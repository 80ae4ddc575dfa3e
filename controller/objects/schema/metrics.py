"""Kinds of metrics.k8s.io/v1beta1: what pods and nodes use just now."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta


class PodMetrics(Part, frozen=True, kw_only=True):
    """Pod metrics: the CPU and memory that each running container of a pod uses."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    timestamp: Annotated[Time | None, Wire(2, required=True)] = None
    window: Annotated[str | None, Wire(3, required=True)] = None
    containers: Annotated[list[ContainerMetrics] | None, Wire(4, keys=("name",), required=True)] = None


class ContainerMetrics(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    usage: Annotated[dict[str, Quantity] | None, Wire(2, required=True)] = None


class NodeMetrics(Part, frozen=True, kw_only=True):
    """Node metrics: the CPU and memory in use on a cell, as its machine counts them."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    timestamp: Annotated[Time | None, Wire(2, required=True)] = None
    window: Annotated[str | None, Wire(3, required=True)] = None
    usage: Annotated[dict[str, Quantity] | None, Wire(4, required=True)] = None
