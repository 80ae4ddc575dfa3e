"""Pods, specs and containers as the types that the room of pods works on, from what a manifest says."""

from __future__ import annotations

from typing import Any

from controller.choice.demand import DEFAULT_OVERHEAD, Overhead
from controller.model.offer import Demand
from controller.objects import pod_demand
from controller.objects.schema.containers import Container, LifecycleHandler, Probe
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.shapes import decoded
from controller.pods.pod_records import recorded
from controller.pods.run import PodRecord, PodRun


def pod_of(manifest: dict[str, Any]) -> Pod:
    return decoded(manifest, Pod)


def spec_of(spec: dict[str, Any]) -> PodSpec:
    return decoded(spec, PodSpec)


def demand_of(spec: Any, overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand of a pod, of whatever its manifest says."""
    return pod_demand.of_pod(pod_demand.spec_of(spec), overhead)


def container_of(container: dict[str, Any]) -> Container:
    return decoded(container, Container)


def probe_of(probe: dict[str, Any]) -> Probe:
    return decoded(probe, Probe)


def hook_of(hook: dict[str, Any]) -> LifecycleHandler:
    return decoded(hook, LifecycleHandler)


def record_of(manifest: dict[str, Any], run: PodRun | None = None) -> PodRecord:
    return recorded(manifest, run or PodRun())
