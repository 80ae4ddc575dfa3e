"""`kubectl top` with plain kubectl: what pods and cells use, by name and selector, and for whom."""

import json
import shutil
import time
from pathlib import Path

import pytest

from controller.fleet.reports import Vitals
from controller.model.names import CellName
from tests.support.pods_api import manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")
BUSY = "while :; do :; done"


def _millis(text: str) -> int:
    return int(text.removesuffix("m"))


async def test_pods_use_what_their_cells_count(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        idle = json.loads(manifest("sleep 1000"))
        idle["metadata"] = {"name": "idle", "labels": {"app": "idle"}}
        for one in (manifest(BUSY), json.dumps(idle)):
            await it.ok("apply", "-f", "-", stdin=one)
        await it.ok("wait", "pod", "--all", "--for=condition=Ready", "--timeout=15s")
        rows = {row.split()[0]: row.split()[1:] for row in (await it.ok("top", "pods", "--no-headers")).splitlines()}
        assert rows.keys() == {"web", "idle"}
        assert _millis(rows["web"][0]) > 20
        assert _millis(rows["idle"][0]) < 10
        assert (await it.ok("top", "pods", "-l", "app=idle", "--no-headers")).split()[0] == "idle"
        by_container = await it.ok("top", "pod", "web", "--containers", "--no-headers")
        assert by_container.split()[:2] == ["web", "web"]
        told = json.loads(await it.ok("get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web"))
        assert told["kind"] == "PodMetrics"
        assert told["metadata"]["labels"] == {"app": "web"}
        assert float(told["window"].removesuffix("s")) > 0
        assert "CPU" in await it.ok("get", "pods.metrics.k8s.io")
        assert '"gone" not found' in (await it.kubectl("top", "pod", "gone")).err


async def test_a_container_that_has_ended_uses_nothing_and_a_silent_cell_is_left_out(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("true", restartPolicy="Never"))
        await it.until("Completed", "get", "pods")
        told = json.loads(await it.ok("get", "--raw", "/apis/metrics.k8s.io/v1beta1/pods"))
        assert told["items"] == []


async def test_nodes_use_what_their_cells_tell(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        it.fleet.said[CellName("c-0")] = Vitals(memory_bytes=512 << 20, cpu_millis=250, heard_at=time.time())
        assert (await it.ok("top", "nodes", "--no-headers")).split() == ["c-0", "250m", "25%", "512Mi", "50%"]
        assert (await it.ok("top", "node", "c-0", "--no-headers")).split()[0] == "c-0"


async def test_whoever_may_see_a_namespace_sees_what_its_pods_use(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        token = f"--token={(await it.ok('create', 'token', 'default')).strip()}"
        assert (await it.ok("auth", "can-i", "list", "pods.metrics.k8s.io", token)).startswith("yes")
        for args in (("top", "pods", "-A"), ("top", "nodes")):
            assert "is forbidden" in (await it.kubectl(*args, token)).err, args
        assert "forbidden" not in (await it.kubectl("top", "pods", token)).err
        assert "PodMetrics" in await it.ok("api-resources", "--api-group=metrics.k8s.io")
