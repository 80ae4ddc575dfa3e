"""A real cluster whose node is the shim with local cells, over what happens to workloads: more and fewer of them,
restarts of what serves them, limits of disk, and what they use. Runs where KUBE_BIN names a folder with the Kubernetes
binaries.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_cluster import IMAGE, client, deployment, neighbours, page, service, until_page
from tests.support.cluster import NODE, Cluster, StartProgress, binaries

pytestmark = [
    pytest.mark.skipif(binaries() is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.timeout(1500),
]
STICKY = "sessionAffinity: ClientIP, "
COUNT = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done"


async def apply(cluster: Cluster, *texts: str) -> None:
    await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin="\n---\n".join(texts))


async def test_a_deployment_goes_from_one_to_five_to_none_and_its_services_follow(tmp_path: Path) -> None:
    async with neighbours(tmp_path) as (own, cluster, _):
        each, same = "10.96.0.81", "10.96.0.82"
        sticky = service("web", same).replace("spec: {", f"spec: {{{STICKY}").replace("name: web}", "name: same}", 1)
        await apply(cluster, deployment("web", 1), service("web", each), sticky, client("here"))
        await cluster.rolled_out("deployment/web")
        await cluster.ready("pod/here")
        assert len(await own.cells()) == 2

        await cluster.kubectl("scale", "deployment/web", "--replicas=5")
        await cluster.rolled_out("deployment/web")
        assert len(await own.cells()) == 6
        names = await cluster.kubectl("get", "pods", "-l", "app=web", "-o", "name")
        five = set(names.replace("pod/", "").split())
        assert len(five) == 5

        seen: set[str] = set()
        progress = StartProgress(cluster)
        while seen != five:
            seen.add(await page(cluster, "here", each))
            progress.check("every pod to answer", str(seen))
            assert seen <= five
        (stays,) = {await page(cluster, "here", same) for _ in range(6)}
        assert stays in five
        # Whose pod has gone is led to another, and stays there.
        await cluster.gone("pod", stays)
        await until_page(cluster, "here", same, re.compile(r"^web-"))
        assert len({await page(cluster, "here", same) for _ in range(4)}) == 1

        await cluster.kubectl("scale", "deployment/web", "--replicas=0")
        await until_page(cluster, "here", each, re.compile("refused"))
        await own.until(lambda cells: len(cells) == 1)


async def test_a_service_of_two_families_is_dialled_by_both(tmp_path: Path) -> None:
    four, six = "10.96.0.84", "fd00:10:96::84"
    both = "ipFamilyPolicy: RequireDualStack, clusterIPs: ["
    dual = service("web", four).replace("selector", f'{both}"{four}", "{six}"], selector')
    async with neighbours(tmp_path, cloud='subnet6 = "fd00:c1::/64"\n') as (_, cluster, _):
        await apply(cluster, deployment("web", 2), dual, client("here"))
        await cluster.rolled_out("deployment/web")
        await cluster.ready("pod/here")
        listed = "jsonpath={.items[*].status.podIPs[1].ip}"
        own = (await cluster.kubectl("get", "pods", "-l", "app=web", "-o", listed)).split()
        assert [one.startswith("fd00:c1::") for one in own] == [True, True]
        for address in (four, six):
            await until_page(cluster, "here", address, re.compile(r"^web-"))
        await cluster.kubectl("scale", "deployment/web", "--replicas=0")
        await until_page(cluster, "here", six, re.compile("refused"))


async def test_restarts_of_controller_and_kubelet_lose_no_container(tmp_path: Path) -> None:
    async with neighbours(tmp_path) as (own, cluster, _):
        address = "10.96.0.83"
        counting = client("counting").replace("sleep 3600", COUNT)
        await apply(cluster, deployment("web", 2), service("web", address), client("here"), counting)
        await cluster.rolled_out("deployment/web")
        await cluster.ready("pod/here")
        await cluster.ready("pod/counting")
        before = await containers(cluster)
        assert len(before) == 4

        await own.kill()
        await own.start()
        await serves(cluster, address)
        assert await containers(cluster) == before
        await cluster.restart("kubelet")
        await serves(cluster, address)
        assert await containers(cluster) == before
        # Both at once, and what is new comes up behind them. (A kubelet ends without a runtime; systemd starts it.)
        await own.kill()
        await own.start()
        await cluster.restart("kubelet")
        await cluster.kubectl("scale", "deployment/web", "--replicas=3")
        await cluster.rolled_out("deployment/web")
        await serves(cluster, address)
        after = await containers(cluster)
        assert {name: after[name] for name in before} == before

        lines = (await cluster.kubectl("logs", "counting")).splitlines()
        assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


async def containers(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """Pods with their container's id, and how often it was started anew."""
    items = json.loads(await cluster.kubectl("get", "pods", "-o", "json"))["items"]
    return {
        one["metadata"]["name"]: (each["containerID"], each["restartCount"])
        for one in items
        for each in one["status"]["containerStatuses"]
    }


async def serves(cluster: Cluster, address: str) -> None:
    """Wait until the node is ready and pods are reached: by kubectl exec, and by their Service."""
    await cluster.ready(f"node/{NODE}")
    await until_page(cluster, "here", address, re.compile(r"^web-"))


def filling(name: str, path: str, *, limit: str = "", size: str = "") -> dict[str, Any]:
    """A pod that writes 6 MiB."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", f"dd if=/dev/zero of={path}/f bs=1048576 count=6; sleep 3600"],
        "resources": {
            "requests": {"cpu": "50m", "memory": "16Mi"},
            **({"limits": {"ephemeral-storage": limit}} if limit else {}),
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "emptyDir": {"sizeLimit": size} if size else {}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def test_the_kubelet_evicts_who_holds_more_of_a_cells_disk_than_it_may(tmp_path: Path) -> None:
    pods = [
        filling("volume", "/data", size="4Mi"),
        filling("whole", "/data", limit="4Mi"),
        filling("layer", "/tmp", limit="4Mi"),
        filling("modest", "/data", limit="64Mi", size="64Mi"),
    ]
    async with neighbours(tmp_path) as (own, cluster, _):
        await apply(cluster, json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        for name in ("volume", "whole", "layer"):
            await cluster.until("Evicted", "get", "pod", name, "-o", "jsonpath={.status.reason}")
        template = "{range .items[*]}{.metadata.name} {.status.phase} {.status.message}{'\\n'}{end}"
        told = await cluster.kubectl("get", "pods", "-o", f"jsonpath={template}")
        assert 'volume Failed Usage of EmptyDir volume "data" exceeds the limit "4Mi".' in told
        assert "whole Failed Pod ephemeral local storage usage exceeds the total limit of containers 4Mi." in told
        assert "layer Failed Pod ephemeral local storage usage exceeds the total limit of containers 4Mi." in told
        assert "modest Running" in told
        await own.until(lambda cells: len(cells) == 1)
        # Nothing of it stays on the worker.
        assert not list(cluster.kubelet_folder.glob("pods/*/volumes/*/data/.chinampa*"))


LOCAL = f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: local}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  local: {{path: FOLDER}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [
    {{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{NODE}]}}]}}]}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: local}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: local
  resources: {{requests: {{storage: 1Gi}}}}
---
"""


async def test_what_a_cell_cannot_honour_is_named(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    claimed = client("claimed").replace(
        "spec:\n", "spec:\n  volumes: [{name: data, persistentVolumeClaim: {claimName: local}}]\n", 1
    )
    claimed = claimed.replace("    resources", "    volumeMounts: [{name: data, mountPath: /data}]\n    resources")
    async with neighbours(tmp_path) as (_, cluster, _):
        await apply(cluster, LOCAL.replace("FOLDER", str(tmp_path / "disk")), claimed, client("here"))
        waiting = "jsonpath={.status.containerStatuses[0].state.waiting}"
        said = await cluster.until("CreateContainerError", "get", "pod", "claimed", "-o", waiting)
        assert "local-volume" in said
        assert "/data" in said
        await cluster.ready("pod/here")


async def test_a_pod_that_may_not_pull_runs_on_what_its_cell_was_given(tmp_path: Path) -> None:
    never = client("given").replace("    command", "    imagePullPolicy: Never\n    command")
    absent = never.replace("name: given", "name: absent").replace(IMAGE, "registry.demo/web:2")
    warm = f'[[standby]]\ncount = 1\ncpu = "50m"\nmemory = "16Mi"\nimages = ["{IMAGE}"]\n'
    async with neighbours(tmp_path, cloud=warm) as (own, cluster, _):
        await own.until(lambda cells: [one["state"] for one in cells] == ["ready"])
        await apply(cluster, never)
        await cluster.ready("pod/given")
        await apply(cluster, absent)
        waiting = "jsonpath={.status.containerStatuses[0].state.waiting}"
        said = await cluster.until("ErrImageNeverPull", "get", "pod", "absent", "-o", waiting)
        assert "registry.demo/web:2" in said


async def test_pods_totals_are_what_their_cells_use(tmp_path: Path) -> None:
    busy = client("busy", memory="64Mi", cpu="500m").replace(
        "sleep 3600", "(head -c 20000000 /dev/zero; sleep 3600) | tail -n 1 & while :; do :; done"
    )
    async with neighbours(tmp_path) as (own, cluster, _):
        await apply(cluster, busy)
        await cluster.ready("pod/busy")
        (cell,) = await own.cells()
        group = own.cloud.cluster, str(cell["instance"])
        for told in (summary, resources, advised):
            least = processor(*group)
            progress = StartProgress(cluster)
            # What is told is of some seconds ago; in time it is of after the first look, and never of after the last.
            while (found := await told(cluster))["cpu"] < least:
                progress.check(f"{told.__name__} to tell of the pod", str(found))
                await asyncio.sleep(1)
            assert found["cpu"] <= processor(*group), told.__name__
            assert 0.8 * memory(*group) < found["memory"] < 1.2 * memory(*group), told.__name__
        assert (await summary(cluster))["received"] > 0


async def summary(cluster: Cluster) -> dict[str, float]:
    """What the kubelet's summary, from which metrics-server is fed in older versions, says of the pod in all."""
    found = json.loads(await cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary"))
    (one,) = [each for each in found["pods"] if each["podRef"]["name"] == "busy"] or [{}]
    return {
        "cpu": one.get("cpu", {}).get("usageCoreNanoSeconds", 0) / 1e9,
        "memory": one.get("memory", {}).get("workingSetBytes", 0),
        "received": one.get("network", {}).get("rxBytes", 0),
    }


async def resources(cluster: Cluster) -> dict[str, float]:
    """What metrics-server asks for, and `kubectl top` shows."""
    said = await cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/resource")
    return {
        "cpu": sample(said, "pod_cpu_usage_seconds_total"),
        "memory": sample(said, "pod_memory_working_set_bytes"),
    }


async def advised(cluster: Cluster) -> dict[str, float]:
    """What Prometheus' rules for Kubernetes are made from."""
    said = await cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor")
    return {
        "cpu": sample(said, "container_cpu_usage_seconds_total", 'container=""'),
        "memory": sample(said, "container_memory_working_set_bytes", 'container=""'),
    }


def sample(text: str, name: str, *labels: str) -> float:
    """The value of a pod's metric; 0 where it is not there."""
    rows = [line for line in text.splitlines() if line.startswith(f"{name}{{") and 'pod="busy"' in line]
    return next((float(row.rpartition("} ")[2].split()[0]) for row in rows if all(one in row for one in labels)), 0.0)


def groups(cluster: str, instance: str) -> list[Path]:
    """The pod's control groups on its instance, which is on this machine."""
    found = subprocess.run(
        ["find", "/sys/fs/cgroup", "-path", f"*chinampa-{cluster}/{instance}/*", "-name", "pod?*", "-type", "d"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [Path(line) for line in found.stdout.splitlines() if Path(line).name != "pods"]


def processor(cluster: str, instance: str) -> float:
    """Seconds of CPU that the pod has used by now."""
    for group in groups(cluster, instance):
        if (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        if (group / "cpu.stat").exists() and "usage_usec" in (text := (group / "cpu.stat").read_text()):
            return int(text.split()[1]) / 1e6
    raise AssertionError("the pod has no control group")


def memory(cluster: str, instance: str) -> float:
    """Bytes of memory that the pod works with."""
    for group in groups(cluster, instance):
        for name, idle in (("memory.usage_in_bytes", "total_inactive_file"), ("memory.current", "inactive_file")):
            if (group / name).exists():
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                return int((group / name).read_text()) - int(stat[idle])
    raise AssertionError("the pod has no control group")
