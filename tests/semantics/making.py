"""Objects of scenarios, and the names of their kinds."""

from __future__ import annotations

from typing import Any

from tests.semantics.planes import Json

DEPLOYMENTS, SETS, STATEFUL, REVISIONS, JOBS, CRON = (
    *("deployments.apps", "replicasets.apps", "statefulsets.apps", "controllerrevisions.apps"),
    *("jobs.batch", "cronjobs.batch"),
)


def template(app: str, image: str = "a:1", restart: str = "Always", **spec: Any) -> Json:
    containers = [{"name": "main", "image": image}]
    return {"metadata": {"labels": {"app": app}}, "spec": {"restartPolicy": restart, "containers": containers, **spec}}


def job(name: str, restart: str = "Never", **spec: Any) -> Json:
    full = {"template": template(name, restart=restart), **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": full}


def running(kind: str, name: str, replicas: int, **spec: Any) -> Json:
    full = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": full}
