"""Volumes on real cells: images, and folders of file servers by claims; what cannot be had is named in events."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.controller import Controller, running_controller

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(300),
]
IMAGE = "registry.demo/web:1"
NFS_PORT = 2049


def pod(name: str, volume: dict[str, Any], script: str, **mount: Any) -> dict[str, Any]:
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/part", **mount}]
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts}
    spec = {"containers": [container], "volumes": [{"name": "v", **volume}], "restartPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**spec, "terminationGracePeriodSeconds": 1},
    }


async def apply(controller: Controller, *made: dict[str, Any]) -> str:
    items = json.dumps({"kind": "List", "apiVersion": "v1", "items": made})
    code, out, err = await controller.kubectl_raw("apply", "-f", "-", stdin=items)
    assert code == 0, err
    return out + err


async def told(controller: Controller, name: str, *words: str) -> str:
    """The pod's events, once one of them has all these words."""
    async with asyncio.timeout(120):
        while True:
            for one in await controller.events(name):
                if all(word in one["message"] for word in words):
                    return one["message"]
            await asyncio.sleep(0.3)


async def test_a_volume_is_an_image_read_only_as_a_whole_or_a_part_of_it(tmp_path: Path) -> None:
    script = "cat /part/index.html; ls /v/bin/start; touch /v/x 2>/dev/null || echo refused"
    async with running_controller(tmp_path) as controller:
        await apply(
            controller,
            pod("shown", {"image": {"reference": IMAGE}}, script, subPath="www"),
            pod("missing", {"image": {"reference": "registry.demo/nowhere:1"}}, "true"),
            pod("hollow", {"image": {"reference": IMAGE}}, "true", subPath="not/there"),
        )
        await controller.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/shown", "--timeout=120s", seconds=130
        )
        logs = await controller.kubectl("logs", "shown")
        assert logs.splitlines() == ["<h1>Hello from a cell</h1>", "/v/bin/start", "refused"]
        policy = ("get", "pod", "shown", "-o", "jsonpath={.spec.volumes[0].image.pullPolicy}")
        assert await controller.kubectl(*policy) == "IfNotPresent"
        await told(controller, "missing", "registry.demo/nowhere:1", "Failed to pull image")
        await told(controller, "hollow", "not/there of image", "cannot be opened")


def claimed(server: str) -> list[dict[str, Any]]:
    """A volume of a server, a claim that fits it, and a pod with that claim."""
    size = {"storage": "5Gi"}
    volume = {"capacity": size, "accessModes": ["ReadWriteMany"], "nfs": {"server": server, "path": "/shared"}}
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        pod("claimant", {"persistentVolumeClaim": {"claimName": "data"}}, "sleep 1000", subPath="own"),
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "efs"}, "spec": volume},
    ]


async def test_a_file_server_that_cannot_be_had_is_named_and_holds_nobody_else_up(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        server = controller.cloud.subnet.replace(".0/24", ".1")
        claimant, claim, volume = claimed(server)
        said = await apply(controller, claimant, claim)
        assert "this PersistentVolumeClaim is Pending until a volume matches it" in said
        await told(controller, "claimant", "unbound immediate PersistentVolumeClaims")
        assert await controller.cells() == [], "what waits for a volume costs nothing"
        await apply(controller, volume)
        await controller.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s", seconds=70
        )
        # Nothing listens there.
        found = await told(controller, "claimant", f"NFS server {server}", "/shared", "2049")
        assert "security group" in found
        if "nfs4" not in Path("/proc/filesystems").read_text():
            there = await asyncio.start_server(lambda _, writer: writer.close(), server, NFS_PORT)
            async with there:
                await told(controller, "claimant", f"NFS server {server}", "has no NFS client")
        await apply(controller, pod("other", {"emptyDir": {}}, "echo done", subPath="x"))
        await controller.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/other", "--timeout=120s", seconds=130
        )
        await controller.kubectl("delete", "pod", "claimant", "--timeout=60s", seconds=70)
