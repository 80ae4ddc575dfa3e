"""Pods that fill their cell's disk beyond what they may: evicted in a kubelet's words, others left alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.controller import running_controller

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(240),
    pytest.mark.waits,
]


def _pod(name: str, megabytes: int, path: str, limit: str = "", size: str = "") -> dict[str, Any]:
    resources = {"limits": {"ephemeral-storage": limit}} if limit else {}
    script = f"dd if=/dev/zero of={path}/f bs=1048576 count={megabytes}; sleep 3600"
    container = {
        "name": "main",
        "image": "registry.demo/web:1",
        "command": ["sh", "-c", script],
        "resources": resources,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "emptyDir": {"sizeLimit": size} if size else {}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def test_a_pod_that_holds_more_than_it_may_is_evicted_and_says_why(tmp_path: Path) -> None:
    pods = [
        _pod("volume", 6, "/data", size="4Mi"),
        _pod("layer", 6, "/tmp", limit="4Mi"),
        _pod("modest", 2, "/data", limit="64Mi", size="4Mi"),
    ]
    async with running_controller(tmp_path) as controller:
        items = json.dumps({"kind": "List", "apiVersion": "v1", "items": pods})
        await controller.kubectl("apply", "-f", "-", stdin=items)
        for name in ("volume", "layer"):
            wanted = "--for=jsonpath={.status.reason}=Evicted"
            await controller.kubectl("wait", wanted, f"pod/{name}", "--timeout=120s", seconds=130)
        template = "{range .items[*]}{.metadata.name} {.status.phase} {.status.message}{'\\n'}{end}"
        told = await controller.kubectl("get", "pods", "-o", f"jsonpath={template}")
        assert 'volume Failed Usage of EmptyDir volume "data" exceeds the limit "4Mi".' in told
        assert "layer Failed Pod ephemeral local storage usage exceeds the total limit of containers 4Mi." in told
        assert "modest Running" in told
        events = await controller.kubectl("get", "events", "--field-selector=reason=Evicted", "-o", "name")
        assert len(events.split()) == 2
