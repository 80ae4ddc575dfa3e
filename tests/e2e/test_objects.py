"""Objects on real cells: a config map that changes under a running pod, its variables, and a deployment."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.controller import Controller, running_controller

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(240),
]

POD = {
    "volumes": [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "e", "emptyDir": {}},
    ],
    "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["there.test"]}],
    "terminationGracePeriodSeconds": 1,
    "containers": [
        {
            "name": "web",
            "image": "registry.demo/web:1",
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "volumeMounts": [
                {"name": "c", "mountPath": "/etc/c"},
                {"name": "c", "mountPath": "/etc/one", "subPath": "word"},
                {"name": "p", "mountPath": "/var/token"},
                {"name": "e", "mountPath": "/data", "subPath": "inner/part"},
            ],
        }
    ],
}


async def said(controller: Controller, *command: str) -> str:
    return (await controller.kubectl("exec", "deployment/web", "--", *command)).strip()


async def test_a_deployments_pod_sees_its_config_map_change(tmp_path: Path) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": POD}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("create", "configmap", "c", "--from-literal=word=before")
        await controller.kubectl("apply", "-f", "-", stdin=json.dumps(made))
        await controller.kubectl("rollout", "status", "deployment/web", "--timeout=120s", seconds=130)
        assert await said(controller, "sh", "-c", "echo $word") == "before"
        assert await said(controller, "cat", "/etc/c/word", "/etc/one") == "beforebefore"
        assert "there.test" in await said(controller, "cat", "/etc/hosts")
        assert (await said(controller, "cat", "/var/token/token")).count(".") == 2
        assert await said(controller, "sh", "-c", "echo x > /data/f && cat /data/f") == "x"
        await controller.kubectl("patch", "configmap", "c", "-p", '{"data":{"word":"after"}}')
        for _ in range(100):
            if await said(controller, "cat", "/etc/c/word") == "after":
                break
            await asyncio.sleep(0.2)
        assert await said(controller, "cat", "/etc/c/word") == "after"
        await controller.kubectl("scale", "deployment/web", "--replicas=0")
        await controller.until(lambda cells: not cells, 60)
