"""What an ordinary user asks of a node, by plain kubectl: the same checks whichever runtime the kubelet has."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.cluster import NODE, STILL_SECONDS, Cluster, StartProgress

COUNT = "httpd -p 8080 -h /www; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.2; done"
SERVE = "touch /tmp/alive; httpd -f -p 8080 -h /www"
LITTLE = "resources: {requests: {cpu: 50m, memory: 16Mi}}"


def pod(image: str, name: str, command: str, restart: str = "Always") -> str:
    """A pod with a configMap and an emptyDir."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "{command}"]
    env: [{{name: WHO, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
    {LITTLE}
    volumeMounts:
    - {{name: settings, mountPath: /settings}}
    - {{name: settings, mountPath: /etc/colour, subPath: colour}}
    - {{name: scratch, mountPath: /scratch}}
  volumes:
  - {{name: settings, configMap: {{name: settings}}}}
  - {{name: scratch, emptyDir: {{}}}}
"""


def probed(image: str) -> str:
    """A pod with an init container, and a probe of each kind."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: probed}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {{name: first, image: {image}, command: [sh, -c, "echo prepared > /scratch/x"], {LITTLE},
      volumeMounts: [{{name: scratch, mountPath: /scratch}}]}}
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "{SERVE}"]
    {LITTLE}
    volumeMounts: [{{name: scratch, mountPath: /scratch}}]
    startupProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1, failureThreshold: 30}}
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
    livenessProbe: {{exec: {{command: [cat, /tmp/alive]}}, periodSeconds: 1, failureThreshold: 1}}
  volumes: [{{name: scratch, emptyDir: {{}}}}]
"""


def failing(image: str) -> str:
    """A pod that wants more memory than it may have, and one that crashes."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: greedy}}
spec:
  restartPolicy: Never
  containers:
  - {{name: main, image: {image}, command: [sh, -c, "head -c 300m /dev/zero | tail"],
      resources: {{requests: {{memory: 16Mi}}, limits: {{memory: 32Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: crashing}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: {image}, command: [sh, -c, "echo last words; exit 1"], {LITTLE}}}
"""


async def works_as_a_node(cluster: Cluster, image: str) -> None:
    """What an ordinary user does in the first five minutes."""
    await cluster.until("default", "get", "serviceaccounts")
    await cluster.kubectl("create", "configmap", "settings", "--from-literal=colour=green")
    await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=pod(image, "web", COUNT))
    await cluster.ready("pod/web")

    said = await cluster.kubectl(
        "exec", "web", "--", "sh", "-c", "cat /settings/colour /etc/colour; echo; echo $WHO; touch /scratch/x"
    )
    assert said.split() == ["greengreen", "web"]
    status, _, _ = await cluster.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
    assert status == 7
    said = await cluster.kubectl("exec", "-i", "web", "--", "cat", stdin="through the pipe")
    assert said == "through the pipe"
    assert (await cluster.kubectl("logs", "web")).startswith("line 1\nline 2\n")
    assert "Hello" in await forwarded(cluster)

    once = pod(image, "once", "echo last words; echo why > /dev/termination-log; exit 3", "Never")
    await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=once)
    state = "jsonpath={.status.containerStatuses[0].state.terminated}"
    ended = await cluster.until('"exitCode":3', "get", "pod", "once", "-o", state)
    assert "why" in ended
    assert await cluster.kubectl("logs", "once") == "last words\n"


async def takes_part_in_debugging(cluster: Cluster, image: str, folder: Path) -> None:
    """attach, cp, debug and stats, with the pod "web" that runs already."""
    assert "line " in await attached(cluster)
    (folder / "there").write_text("copied")
    await cluster.kubectl("cp", str(folder / "there"), "web:/scratch/there")
    await cluster.kubectl("cp", "web:/scratch/there", str(folder / "back"))
    assert (folder / "back").read_text() == "copied"

    command = ("--", "sh", "-c", "ps | grep -c httpd; sleep 1")
    await cluster.kubectl(
        "debug", "web", f"--image={image}", "--target=main", "-c", "looker", "--attach=false", *command
    )
    state = "jsonpath={.status.ephemeralContainerStatuses[0].state}"
    await cluster.until('"exitCode":0', "get", "pod", "web", "-o", state)
    assert int(await cluster.kubectl("logs", "web", "-c", "looker")) >= 1

    main: list[dict[str, Any]] = []
    progress = StartProgress(cluster)
    while True:
        summary = json.loads(await cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary"))
        web = [one for one in summary["pods"] if one["podRef"]["name"] == "web"]
        main = [one for each in web for one in each["containers"] if one["name"] == "main"]
        if main and main[0].get("memory", {}).get("workingSetBytes", 0) > 0:
            assert main[0]["cpu"]["usageCoreNanoSeconds"] > 0
            return
        progress.check("stats of the container", str([one["cpu"] for one in main]))
        await asyncio.sleep(0.5)


async def minds_probes_and_ends(cluster: Cluster, image: str) -> None:
    """Probes of each kind, init containers, OOM kills, crashes and their logs."""
    await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=probed(image) + "---" + failing(image))
    await cluster.ready("pod/probed")
    assert await cluster.kubectl("exec", "probed", "-c", "main", "--", "cat", "/scratch/x") == "prepared\n"
    await cluster.kubectl("exec", "probed", "-c", "main", "--", "rm", "/tmp/alive")
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    await cluster.until("1", "get", "pod", "probed", "-o", restarts)

    reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    await cluster.until("OOMKilled", "get", "pod", "greedy", "-o", reason)
    before = "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}"
    await cluster.until("1", "get", "pod", "crashing", "-o", before)
    # Asked again where the kubelet has just started it anew, and the container that was the last but one is gone.
    await cluster.until("last words", "logs", "--previous", "crashing")


async def takes_up_changed_settings(cluster: Cluster) -> None:
    """A configMap that changes reaches the running container."""
    changed = '{"data":{"colour":"blue"}}'
    await cluster.kubectl("patch", "configmap", "settings", "-p", changed)
    await cluster.until("blue", "exec", "web", "--", "cat", "/settings/colour")


async def scales(cluster: Cluster, image: str, most: int) -> None:
    """A Deployment from one pod to many to none."""
    await cluster.kubectl("create", "deployment", "many", f"--image={image}", "--replicas=1")
    await cluster.kubectl("scale", "deployment", "many", f"--replicas={most}")
    await cluster.until(f"{most}/{most}", "get", "deployment", "many")
    await cluster.kubectl("scale", "deployment", "many", "--replicas=0")
    await cluster.until("0/0", "get", "deployment", "many")


async def attached(cluster: Cluster) -> str:
    """The first line that kubectl attach shows of the pod's output."""
    return await _first_line(cluster, "attach", "pod/web", "-c", "main")


async def forwarded(cluster: Cluster) -> str:
    """The pod's page through kubectl port-forward."""
    process = await _kubectl(cluster, "port-forward", "pod/web", ":8080")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(STILL_SECONDS):
            line = (await process.stdout.readline()).decode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(line.split("127.0.0.1:")[1].split()[0]))
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        return page
    finally:
        process.terminate()
        await process.wait()


async def _first_line(cluster: Cluster, *arguments: str) -> str:
    process = await _kubectl(cluster, *arguments)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(STILL_SECONDS):
            return (await process.stdout.readline()).decode()
    finally:
        process.terminate()
        await process.wait()


async def _kubectl(cluster: Cluster, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
