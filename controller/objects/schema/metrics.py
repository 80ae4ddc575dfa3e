"""Kinds of metrics.k8s.io/v1beta1: what pods and nodes use just now."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta


class PodMetrics(Part, frozen=True, kw_only=True):
    """Pod metrics: the CPU and memory that each running container of a pod uses."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    timestamp: Annotated[Time | None, Wire(2, required=True)] = None
    window: Annotated[str, Wire(3, required=True)] = ""
    containers: Annotated[tuple[ContainerMetrics, ...], Wire(4, keys=("name",), required=True)] = ()


class ContainerMetrics(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    usage: Annotated[dict[str, Quantity], Wire(2, required=True)] = {}


class NodeMetrics(Part, frozen=True, kw_only=True):
    """Node metrics: the CPU and memory in use on a cell, as its machine counts them."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    timestamp: Annotated[Time | None, Wire(2, required=True)] = None
    window: Annotated[str, Wire(3, required=True)] = ""
    usage: Annotated[dict[str, Quantity], Wire(4, required=True)] = {}
