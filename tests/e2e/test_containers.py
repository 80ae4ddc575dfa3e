"""Containers on real cells: probes of real servers, restart rules, and sidecars in their order."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import probed
from tests.support.controller import ROOT, Controller, running_controller

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(600),
]
IMAGE = "registry.demo/web:1"
SHARED = {"name": "shared", "mountPath": "/shared"}


def pod(name: str, containers: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    full = {"containers": containers, "terminationGracePeriodSeconds": 1, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": full}


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": [SHARED], **more}


def server(name: str, *arguments: str, **probe: Any) -> dict[str, Any]:
    """A container that runs a program of this machine, found ready by this probe."""
    program = ["/bin/busybox", "chroot", "/machine", sys.executable, probed.__file__, *arguments]
    return {
        "name": name,
        "image": IMAGE,
        "command": program,
        "volumeMounts": [{"name": "machine", "mountPath": "/machine"}],
        "ports": [{"name": "tls", "containerPort": 8443}] if arguments[0] == "https" else [],
        "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 10, **probe},
    }


def probed_pod() -> dict[str, Any]:
    name, value = probed.HEADER
    headers = [{"name": "host", "value": probed.HOST}, {"name": name, "value": value}]
    asked = {"scheme": "HTTPS", "port": "tls", "path": probed.PATH, "host": "127.0.0.1", "httpHeaders": headers}
    plain = {"scheme": "HTTPS", "port": 8444, "path": probed.PATH}
    containers = [
        server("grpc", "grpc", "5000", "shop.Cart", grpc={"port": 5000, "service": "shop.Cart"}),
        server("stranger", "grpc", "5001", "shop.Cart", grpc={"port": 5001, "service": "shop.Till"}),
        server("https", "https", "8443", httpGet=asked),
        server("headless", "https", "8444", httpGet=plain),
    ]
    environment = [{"name": "PYTHONPATH", "value": f"{ROOT}:{ROOT / 'proto'}"}]
    for one in containers:
        one["env"] = environment
    return pod("probed", containers, volumes=[{"name": "machine", "hostPath": {"path": "/"}}])


async def ready(controller: Controller, name: str) -> dict[str, bool]:
    return {one["name"]: one["ready"] for one in (await controller.pod(name))["status"]["containerStatuses"]}


async def told(controller: Controller, name: str, words: str) -> None:
    """Wait until an event of the pod has these words."""
    async with asyncio.timeout(120):
        while True:
            if any(words in one["message"] for one in await controller.events(name)):
                return
            await asyncio.sleep(0.5)


async def test_probes_ask_real_servers_by_grpc_and_by_tls_with_their_headers(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=json.dumps(probed_pod()))
        for index in (0, 2):
            good = f"--for=jsonpath={{.status.containerStatuses[{index}].ready}}=true"
            await controller.kubectl("wait", good, "pod/probed", "--timeout=120s", seconds=130)
        for words in ("gRPC status 5", "statuscode: 500"):
            await told(controller, "probed", words)
        # On a starved machine a good answer may come too late, once; a bad one is never good.
        wanted = {"grpc": True, "stranger": False, "https": True, "headless": False}
        async with asyncio.timeout(120):
            while await ready(controller, "probed") != wanted:
                await asyncio.sleep(0.5)


def ruled() -> dict[str, Any]:
    """Ends with 42 until it has done so twice."""
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    script = "echo x >> /shared/runs; test $(cat /shared/runs | busybox wc -l) -gt 1 && exit 0; exit 42"
    one = shell("main", script, restartPolicy="Never", restartPolicyRules=[rule])
    return pod("ruled", [one], restartPolicy="Never", volumes=[{"name": "shared", "emptyDir": {}}])


def stubborn() -> dict[str, Any]:
    """Never stops by itself within the grace of its pod, and is found dead."""
    probe = {"exec": {"command": ["sh", "-c", "exit 1"]}, "failureThreshold": 1, "periodSeconds": 1}
    one = shell("main", "trap '' TERM; while :; do sleep 1; done")
    one["livenessProbe"] = {**probe, "initialDelaySeconds": 1, "terminationGracePeriodSeconds": 1}
    volumes = [{"name": "shared", "emptyDir": {}}]
    return pod("stubborn", [one], volumes=volumes, terminationGracePeriodSeconds=3000)


def beside() -> dict[str, Any]:
    """A pod that writes down in which order its containers come and go."""
    loop = "while :; do sleep 1; done"
    started = {"exec": {"command": ["cat", "/shared/up"]}, "periodSeconds": 1, "failureThreshold": 60}
    up = "sleep 2; echo one is up >> /shared/o; touch /shared/up"
    first = f"trap 'echo one ends >> /shared/o; cat /shared/o; exit 0' TERM; {up}; {loop}"
    second = f"trap 'sleep 2; echo two ends >> /shared/o; exit 0' TERM; echo two begins >> /shared/o; {loop}"
    inits = [
        shell("one", first, restartPolicy="Always", startupProbe=started),
        shell("once", "echo once runs >> /shared/o"),
        shell("two", second, restartPolicy="Always"),
    ]
    main = shell("main", "sleep 1; echo main ends >> /shared/o")
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 60}
    return pod("beside", [main], initContainers=inits, volumes=[{"name": "shared", "emptyDir": {}}], **spec)


async def test_restart_rules_graces_of_probes_and_the_order_of_sidecars(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        items = json.dumps({"kind": "List", "apiVersion": "v1", "items": [ruled(), stubborn(), beside()]})
        await controller.kubectl("apply", "-f", "-", stdin=items)
        for name in ("ruled", "beside"):
            over = ("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=280s")
            await controller.kubectl(*over, seconds=290)
        count = ("get", "pod", "ruled", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
        assert await controller.kubectl(*count) == "1"
        logs = await controller.kubectl("logs", "beside", "-c", "one")
        assert logs.splitlines() == [
            *("one is up", "once runs", "two begins", "main ends", "two ends", "one ends"),
        ]
        # It goes on ending and beginning; within the grace of its pod nothing would have come.
        await told(controller, "stubborn", "Container main failed liveness probe, will be restarted")
        async with asyncio.timeout(120):
            while (await controller.pod("stubborn"))["status"]["containerStatuses"][0]["restartCount"] < 1:
                await asyncio.sleep(0.5)
        await controller.kubectl("delete", "pod", "stubborn", "--grace-period=0", "--force")
