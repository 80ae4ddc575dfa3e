"""Services without a cluster, with plain kubectl and real cells: names, addresses, balance, readiness, affinity."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.controller import Controller, running_controller
from tests.support.waiting import until_found

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(240),
]
IMAGE = "registry.demo/web:1"
SERVE = "mkdir /tmp/w; hostname > /tmp/w/index.html; touch /tmp/ok; exec httpd -f -p 8080 -h /tmp/w"
READY = {"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}


def template(app: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", SERVE],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": READY,
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"metadata": {"labels": {"app": app}}, "spec": spec}


def workload(kind: str, name: str, replicas: int, **more: Any) -> dict[str, Any]:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name),
        **more,
    }
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(name: str, app: str = "", **more: Any) -> dict[str, Any]:
    spec = {"ports": [{"port": 80, "targetPort": "http"}], **({"selector": {"app": app}} if app else {}), **more}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


CLIENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "client"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "dnsConfig": {"options": [{"name": "attempts", "value": "3"}]},
        "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}],
    },
}


async def apply(controller: Controller, *objects: dict[str, Any]) -> None:
    await controller.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects})
    )


async def inside(controller: Controller, script: str, namespace: str = "default") -> str:
    return await controller.kubectl("exec", "-n", namespace, "client", "--", "sh", "-c", script)


async def pages(
    controller: Controller, where: str, times: int = 12, port: int = 80, namespace: str = "default"
) -> set[str]:
    """Who answered at a name or address, each time asked anew."""
    look = f"nslookup -type=a {where} | grep -A1 ^Name | grep Address | head -n1 | cut -d' ' -f2"
    address = where if where[0].isdigit() else f"$({look})"
    ask = f"(printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'; sleep 0.3) | nc -w 3 $a {port} | tail -n1"
    said = await inside(
        controller, f"for i in $(seq {times}); do a={address}; ({ask}) || echo none; done 2>&1", namespace
    )
    return {"none" if "refused" in line else line for line in said.split("\n") if line.strip()}


async def answered_by(controller: Controller, where: str, pods: set[str]) -> None:
    """Until just these answer, each of them: cells hear of a change a moment after kubectl, and choose by chance."""

    async def just_these() -> bool:
        return await pages(controller, where) == pods

    await until_found(just_these)


async def some_answer(
    controller: Controller, where: str, pods: set[str], port: int = 80, *, namespace: str = "default"
) -> None:
    """Until just these answer: whose probe comes late, on a busy machine, is not ready for a moment."""

    async def some_of_these() -> bool:
        found = await pages(controller, where, 2, port, namespace)
        assert found - {"none"} <= pods
        return bool(found) and "none" not in found

    await until_found(some_of_these)


async def test_services_are_names_and_addresses_for_any_cell(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("create", "namespace", "other")
        await apply(
            controller,
            {**CLIENT, "metadata": {"name": "client", "namespace": "other"}},
            workload("Deployment", "web", 2),
            workload("StatefulSet", "db", 1, serviceName="db"),
            service("web", "web"),
            service("same", "web", sessionAffinity="ClientIP"),
            service("db", "db", clusterIP="None"),
            service("none", "nobody"),
            service("far", type="ExternalName", externalName="web.default.svc.cluster.local", ports=None),
            CLIENT,
        )
        await controller.kubectl("rollout", "status", "deployment/web", "--timeout=120s", seconds=130)
        await controller.kubectl("rollout", "status", "statefulset/db", "--timeout=60s", seconds=70)
        await controller.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s", seconds=70)
        await controller.kubectl(
            "wait", "-n", "other", "--for=condition=Ready", "pod/client", "--timeout=60s", seconds=70
        )
        web = set((await controller.kubectl("get", "pods", "-l", "app=web", "-o", "name")).replace("pod/", "").split())

        # What kubectl is told.
        endpoints = await controller.kubectl("get", "endpoints", "web", "--no-headers")
        assert len(re.findall(r"[\d.]+:8080", endpoints)) == 2, endpoints
        slices = await controller.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web")
        assert re.search(r"IPv4 +8080 +[\d.]+,[\d.]+ ", slices), slices
        assert "<none>" in await controller.kubectl("get", "endpoints", "none")
        address = await controller.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
        assert address.startswith("10.96.")

        # What pods are told.
        resolver = await inside(controller, "cat /etc/resolv.conf")
        assert "search default.svc.cluster.local svc.cluster.local cluster.local" in resolver
        assert "ndots:5 attempts:3" in resolver
        await answered_by(controller, "web", web)
        await some_answer(controller, "web.default.svc.cluster.local", web)
        await some_answer(controller, "far", web)
        await some_answer(controller, "db-0.db.default.svc.cluster.local", {"db-0"}, 8080)
        await some_answer(controller, "db.default.svc.cluster.local", {"db-0"}, 8080)
        assert len(await pages(controller, "same")) == 1
        assert await pages(controller, "none", 1) == {"none"}

        # A Service of another namespace is there for who dials its address.
        await some_answer(controller, address, web, namespace="other")

        # Who is not ready is dialled no more.
        gone = min(web)
        await controller.kubectl("exec", gone, "--", "rm", "/tmp/ok")
        await controller.kubectl("wait", "--for=condition=Ready=false", f"pod/{gone}", "--timeout=30s", seconds=40)
        await answered_by(controller, "web", web - {gone})
        await controller.kubectl("scale", "deployment/web", "--replicas=0")
        await controller.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s", seconds=70)
        assert await pages(controller, "web", 1) == {"none"}
        await controller.kubectl("delete", "service", "web")
        assert not await controller.kubectl("get", "endpoints", "web", "--ignore-not-found")


# The image has no TLS of its own: the machine's, by hostPath. The name and the authority are checked as Go clients do.
CALL = """
cd /var/run/secrets/kubernetes.io/serviceaccount
printf 'GET /api/v1/namespaces/%s/pods HTTP/1.0\\r\\nAuthorization: Bearer %s\\r\\n\\r\\n' \
    $(cat namespace) $(cat token) \
    | /usr/bin/openssl s_client -quiet -verify_return_error -CAfile ca.crt -verify_hostname kubernetes.default.svc \
    -connect kubernetes.default.svc:443
"""


async def test_a_pod_calls_this_api_by_the_name_that_it_has_in_every_cluster(tmp_path: Path) -> None:
    pod = json.loads(json.dumps(CLIENT))
    folders = {"usr": "/usr", "lib": "/lib", "lib64": "/lib64"}
    pod["spec"]["volumes"] = [
        {"name": name, "hostPath": {"path": "/usr" if name == "usr" else f"/usr{path}"}}
        for name, path in folders.items()
    ]
    pod["spec"]["containers"][0]["volumeMounts"] = [
        {"name": name, "mountPath": path, "readOnly": True} for name, path in folders.items()
    ]
    async with running_controller(tmp_path, pods_call_it=True) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s", seconds=70)
        assert "443/TCP" in await controller.kubectl("get", "service", "kubernetes")
        answer = await controller.kubectl("exec", "client", "--", "sh", "-c", CALL)
        head, _, body = answer.partition("\r\n\r\n")
        assert " 200 " in head, answer
        assert [one["metadata"]["name"] for one in json.loads(body)["items"]] == ["client"]
