"""Fills in what a manifest leaves out, as the Kubernetes API server would. Pure; changes the manifest given."""

from __future__ import annotations

from typing import cast

from controller.objects.fields import Json

GRACE_SECONDS = 30
TOKEN_SECONDS = 3600


def with_defaults(pod: Json) -> Json:
    """The admitted manifest with every default written out, and without empty members."""
    spec = cast("Json", _without_nulls(pod["spec"]))
    pod["spec"] = spec
    pod["metadata"] = _without_nulls(pod["metadata"])
    pod.setdefault("apiVersion", "v1")
    pod.setdefault("kind", "Pod")
    pod.pop("status", None)
    for container in (*spec.get("initContainers", ()), *spec["containers"], *spec.get("ephemeralContainers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        if volume.keys() == {"name"}:
            volume["emptyDir"] = {}
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")
        if "image" in volume:
            volume["image"].setdefault("pullPolicy", _pull_policy(volume["image"]["reference"]))
        for kind in ("configMap", "secret", "downwardAPI", "projected"):
            if kind in volume:
                volume[kind].setdefault("defaultMode", 0o644)
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                source["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccount"] = spec["serviceAccountName"] = account
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", GRACE_SECONDS)
    return pod


def container_filled(container: Json) -> Json:
    """One container with its defaults."""
    filled = cast("Json", _without_nulls(container))
    _container(filled)
    return filled


def _container(container: Json) -> None:
    container.setdefault("imagePullPolicy", _pull_policy(container["image"]))
    resources = container.setdefault("resources", {})
    for name, amount in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for entry in container.get("env", ()):
        reference = (entry.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])


def _probe(probe: Json) -> None:
    for name, value in (
        ("failureThreshold", 3),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("timeoutSeconds", 1),
    ):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _pull_policy(image: str) -> str:
    """Always for what may move (the tag latest, or none), IfNotPresent for a tag or a digest."""
    last = image.rsplit("/", 1)[-1]
    if "@" in last:
        return "IfNotPresent"
    _, colon, tag = last.partition(":")
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        members = cast("Json", value)
        return {name: _without_nulls(member) for name, member in members.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in cast("list[object]", value)]
    return value
