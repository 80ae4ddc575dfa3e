"""What a worker's own shim tells: /metrics as docs/metrics.md says, its cells, and whether a controller answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from cellwire.worker.v1 import worker_pb2 as wire
from controller.api import measuring, worker_admin
from controller.api.process_metrics import ProcessMetrics
from controller.link.authority import Authority
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.remote.central import Central
from controller.remote.remote_cells import RemoteCells
from controller.remote.worker_identity import WorkerCredentials, WorkerIdentity
from controller.sandboxes.carried import Carrier
from controller.sandboxes.ways import Ways
from controller.store.record_store import encode
from controller.store.timed import TimedStore
from tests.support.memory_store import MemoryStore

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
NOBODY = "127.0.0.1:1"


def cell(name: str) -> Cell:
    demand = Demand(cpu_millis=100, memory_mib=100)
    claim = PodClaim(pod=PodRef(uid=PodUid(name), namespace="default", name=name), demand=demand, by="shim@node-1")
    return Cell(
        name=CellName(name), state=CellState.CLAIMED, instance=InstanceId(f"i-{name}"), demand=demand, claim=claim
    )


@asynccontextmanager
async def worker(folder: Path) -> AsyncGenerator[tuple[RemoteCells, Central, int]]:
    """A worker with two cells, its port for /metrics, and no controller that answers."""
    metrics = ProcessMetrics()
    identity, authority = WorkerIdentity(folder / "identity"), Authority(folder / "link", ["127.0.0.1"])
    identity.begin(authority.pem)
    joined = WorkerCredentials(worker="node-1", renew_at=0.0, carried_key=b"key")
    identity.keep(joined, authority.sign_worker(identity.signing_request(), "node-1"))
    central = Central(identity, (NOBODY,))
    async with asyncio.TaskGroup() as writing:
        cells = RemoteCells(TimedStore(MemoryStore(), metrics.wrote), writing, central)
        for name in ("c-1", "c-2"):
            await cells.heed(wire.WatchMessage(cell=encode(cell(name))))
        facts = {"worker": "node-1", "controllers": [NOBODY], "pid": 7}
        async with (
            measuring.of_process(metrics, "127.0.0.1", 0) as port,
            worker_admin.running(cells, central, Ways(Carrier(b"key")), metrics, folder, facts),
        ):
            assert port is not None
            yield cells, central, port


async def asked(folder: Path, path: str) -> Any:
    connector = aiohttp.UnixConnector(str(folder / "admin.sock"))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://shim{path}") as reply:
        assert reply.status == 200
        return await (reply.json() if reply.content_type == "application/json" else reply.text())


async def scraped(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as reply:
        return await reply.text()


async def test_the_document_lists_every_metric_of_a_worker(tmp_path: Path) -> None:
    async with worker(tmp_path) as (_, _, port):
        shown = {family.name: family.type for family in text_string_to_metric_families(await scraped(port))}
    _, _, own = DOCUMENT.read_text().partition("## Of a worker's shim")
    told = dict(re.findall(r"^\| `(\w+?)(?:_total)?` \| (\w+) \|", own, re.MULTILINE))

    assert {
        name: kind for name, kind in shown.items() if not name.startswith("process_") and not name.endswith("_created")
    } == told


async def test_cells_and_the_way_to_the_controller_are_told(tmp_path: Path) -> None:
    async with worker(tmp_path) as (cells, central, _):
        async with asyncio.TaskGroup() as tasks:
            staying = tasks.create_task(central.stay(("127.0.0.1:2",), cells))
            while central.reach().why == "it has not been dialled yet":
                await asyncio.sleep(0.01)
            staying.cancel()
        await cells.release(CellName("c-1"), "the pod is over")
        status = await asked(tmp_path, "/status")
        text = await asked(tmp_path, "/metrics")
        listed = await asked(tmp_path, "/cells")

        assert (status["worker"], status["controller"], status["cells"]) == (
            "node-1",
            "",
            {"claimed": 1, "retiring": 1},
        )
        assert "Connect call failed" in status["why"]
        for line in (
            'chinampa_worker_info{worker="node-1"} 1.0',
            'chinampa_cells{state="claimed"} 1.0',
            "chinampa_controller_connected 0.0",
            "chinampa_releases_waiting 1.0",
            'chinampa_store_write_seconds_count{outcome="ok"} 4.0',
        ):
            assert line in text
        assert [(one["name"], one["pod"], one["worker"]) for one in listed] == [
            ("c-1", "default/c-1", "node-1"),
            ("c-2", "default/c-2", "node-1"),
        ]
    assert not (tmp_path / "admin.sock").exists()
