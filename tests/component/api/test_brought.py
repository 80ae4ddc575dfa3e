"""Kinds that whole applications bring along: applied by plain kubectl, done or said aloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.pods_api import PodsApiWorld, world

LABELS = {"app": "web"}
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": LABELS},
    "spec": {"containers": [{"name": "main", "image": "busybox:1", "volumeMounts": []}]},
}


def _of(kind: str, version: str, spec: dict[str, Any], name: str = "web") -> str:
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})


async def test_a_replication_controller_has_its_pods_and_is_scaled(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=_of("ReplicationController", "v1", {"replicas": 2, "template": TEMPLATE}))
        await it.ok("wait", "--for=jsonpath={.status.readyReplicas}=2", "rc/web", "--timeout=50s")
        await it.ok("scale", "rc/web", "--replicas=1")
        await it.ok("wait", "--for=jsonpath={.status.replicas}=1", "rc/web", "--timeout=50s")
        assert "app=web" in await it.ok("get", "rc", "-o", "wide")


async def test_a_daemon_set_has_no_node_without_its_pod_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        spec = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
        ran = await it.kubectl("apply", "-f", "-", stdin=_of("DaemonSet", "apps/v1", spec))
        assert ran.code == 0
        assert "Warning: this DaemonSet is kept, and runs no pod: there are no nodes" in ran.err
        assert "successfully rolled out" in await it.ok("rollout", "status", "ds/web", "--timeout=20s")
        assert "No resources found" in (await it.kubectl("get", "pods")).err


async def test_a_pod_whose_claim_nothing_meets_waits_without_a_cell_and_says_for_what(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        spec = {
            "selector": {"matchLabels": LABELS},
            "serviceName": "web",
            "template": {
                **TEMPLATE,
                "spec": {
                    "containers": [
                        {"name": "main", "image": "busybox:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
                    ]
                },
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        }
        ran = await it.kubectl("apply", "-f", "-", stdin=_of("StatefulSet", "apps/v1", spec))
        assert ran.code == 0
        assert "Warning: spec.volumeClaimTemplates: its pods wait until" in ran.err
        await it.until("Pending", "get", "pvc", "data-web-0")
        await it.until('"data-web-0" waits for a PersistentVolume', "describe", "pod", "web-0")
        assert "Unschedulable" in await it.ok("get", "pod", "web-0", "-o", "yaml")
        assert not it.fleet.doubles


async def _first_form(it: PodsApiWorld, target: dict[str, Any]) -> None:
    """autoscaling/v1 is another form of the same objects, of which it shows and changes a part."""
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    second = _of("HorizontalPodAutoscaler", "autoscaling/v2", {**target, "metrics": [memory]})
    await it.ok("apply", "-f", "-", stdin=second)
    first = _of("HorizontalPodAutoscaler", "autoscaling/v1", {**target, "targetCPUUtilizationPercentage": 60})
    assert "Warning: this HorizontalPodAutoscaler is kept" in (await it.kubectl("apply", "-f", "-", stdin=first)).err
    assert "unchanged" in await it.ok("apply", "-f", "-", stdin=first)
    assert await it.ok("diff", "-f", "-", stdin=first) == ""
    assert "memory: <unknown>/1Gi" in (shown := await it.ok("get", "hpa"))
    assert "cpu: <unknown>/60%" in shown
    share = "jsonpath={.spec.targetCPUUtilizationPercentage}"
    assert await it.ok("get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", share) == "60"
    assert "cpu: <unknown>/60%" in await it.ok("get", "horizontalpodautoscalers.v1.autoscaling")
    wrong = _of("HorizontalPodAutoscaler", "autoscaling/v1", {**target, "targetCPU": 60})
    ran = await it.kubectl("replace", "-f", "-", stdin=wrong)
    assert 'unknown field "spec.targetCPU"' in ran.err
    ran = await it.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=first)
    assert "use autoscaling/v2" in ran.err
    await it.ok("delete", "-f", "-", stdin=first)
    assert await it.ok("get", "hpa", "-o", "name") == ""


async def test_what_opens_no_door_here_is_kept_and_said(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web"}}}]}}
        ran = await it.kubectl("apply", "-f", "-", stdin=_of("Ingress", "networking.k8s.io/v1", {"rules": [rule]}))
        assert "Warning: this Ingress is kept, and has no effect here" in ran.err
        target = {"scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}, "maxReplicas": 3}
        ran = await it.kubectl("apply", "-f", "-", stdin=_of("HorizontalPodAutoscaler", "autoscaling/v2", target))
        assert "Warning: this HorizontalPodAutoscaler is kept, and has no effect here" in ran.err
        assert "Deployment/web" in await it.ok("get", "hpa")
        await _first_form(it, target)
        assert "web" in await it.ok("get", "ingress")
