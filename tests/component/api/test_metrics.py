"""What /metrics shows, where it is served, and that docs/metrics.md tells the same."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cellwire.faults import Fault, Kind
from cellwire.stream.counted import CountedBackend
from cellwire.stream.session import SessionRequest
from controller.api import admin, measuring, server
from controller.api.audit import Audit
from controller.api.authorization import Gate
from controller.api.grants import Grants
from controller.api.prometheus import Metrics, ScrapeSources
from controller.api.settings import ApiSettings
from controller.api.stages import LONGEST, Stages
from controller.choice.unavailable import Unavailable
from controller.clouds.protocol import Called
from controller.fleet.pool.keeper import Figures
from controller.fleet.reports import Vitals
from controller.link.authority import Authority
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.pods import engine
from controller.sandboxes.carried import Carrier
from controller.sandboxes.ways import Ways
from controller.store.timed import TimedStore
from tests.support.cells_double import OFFER, cells, demand_of
from tests.support.fake_cloud import FakeCloud
from tests.support.memory_store import MemoryStore
from tests.support.pods_api import identity, objects

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
NOW = 10_000.0
CLASS = Figures(
    of="small",
    hits=7,
    waited=2,
    misses=1,
    requested=9,
    released=1,
    failed=3,
    wanted=4,
    warm=3,
    ready=2,
    usd_per_hour=0.03,
    rate=0.1,
    boot_seconds=5.0,
    paused_until=0.0,
)


class Fleet:
    def __init__(self, *known: Cell) -> None:
        self.known = list(known)

    def list(self) -> tuple[Cell, ...]:
        return tuple(self.known)

    def vitals(self, name: CellName) -> Vitals | None:
        return Vitals(memory_bytes=64 << 20, cpu_millis=250, heard_at=NOW)

    def pool(self) -> tuple[Figures, ...]:
        return (CLASS,)

    def unavailable(self) -> Unavailable:
        return Unavailable()

    def refusals(self) -> dict[str, int]:
        return {"InsufficientInstanceCapacity": 5}

    async def watch(self) -> Any:
        for cell in self.known:
            yield cell
        await asyncio.Event().wait()


class Cloud(FakeCloud):
    def called(self) -> tuple[Called, ...]:
        return (
            Called(service="ec2", action="CreateFleet", outcome="ok", count=3),
            Called(service="ec2", action="CreateFleet", outcome="RequestLimitExceeded", count=2, throttled=True),
        )


def cell(name: str, namespace: str = "", **given: Any) -> Cell:
    demand = Demand(cpu_millis=100, memory_mib=100)
    pod = PodRef(uid=PodUid(name), namespace=namespace, name=name)
    whole: dict[str, Any] = {
        "state": CellState.CLAIMED,
        "instance": InstanceId(f"i-{name}"),
        "offer": OFFER,
        "connected": True,
    }
    claim = PodClaim(pod=pod, demand=demand) if namespace else None
    return Cell(name=CellName(name), demand=demand, claim=claim, **{**whole, **given})


def metrics_of(fleet: Fleet, ways: Ways | None = None) -> Metrics:
    metrics = Metrics(lambda: NOW)
    ways = ways or Ways(Carrier(b"key"))
    ways.supervisor.failures["pod"] += 1
    measured = ScrapeSources(cast("Any", fleet), cast("Any", Cloud()), lambda: 5.0, ways, "1.0")
    metrics.measure(measured)
    return metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Each sample by its name and labels, as PromQL writes them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.text()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_document_lists_every_metric_with_type_and_labels_and_no_other() -> None:
    metrics = metrics_of(Fleet(cell("a", "default")))
    metrics.changed(cell("b", state=CellState.LOST, moments={}), Stages())
    metrics.wrote(0.1, "ok")
    shown: dict[str, tuple[str, frozenset[str]]] = {}
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {key for sample in family.samples for key in sample.labels} - {"le"}
        shown[name] = (family.type, frozenset(labels))
    told: dict[str, tuple[str, frozenset[str]]] = {}
    document, _, _ = DOCUMENT.read_text().partition("## Of a worker's shim")
    for row in re.finditer(r"^\| `(\w+)` \| (\w+) \|([\w, ]*)\|", document, re.MULTILINE):
        told[row[1]] = (row[2], frozenset(word for word in row[3].replace(" ", "").split(",") if word))

    assert told == shown


def test_costs_are_told_by_namespace_launch_type_and_instance_type() -> None:
    waiting = cell("d", "default", state=CellState.LAUNCHING, instance=None, offer=None, connected=False)
    found = samples(metrics_of(Fleet(cell("a", "default"), cell("b", "default"), cell("c"), waiting)))

    row = 'chinampa_usd_per_hour{{instance_type="d1.small",launch_type="spot",namespace="{}"}}'
    assert found[row.format("default")] == pytest.approx(0.029)
    assert found[row.format("(none)")] == pytest.approx(0.0145)
    assert found['chinampa_cells{state="claimed"}'] == 3
    assert found['chinampa_cells{state="launching"}'] == 1
    assert found['chinampa_cells{state="lost"}'] == 0
    assert found["chinampa_cells_connected"] == 3


def test_a_connected_cell_that_was_not_heard_for_two_heartbeats_is_late() -> None:
    heard = [cell(f"c{at}", last_heartbeat=at) for at in (NOW - 11, NOW - 9, 0.0)]
    away = cell("away", last_heartbeat=NOW - 60, connected=False)

    assert samples(metrics_of(Fleet(*heard, away)))["chinampa_heartbeats_late"] == 1


def test_what_the_pool_and_the_cloud_count_is_shown() -> None:
    found = samples(metrics_of(Fleet()))

    assert found['chinampa_pool_pods_total{class="small",outcome="hit"}'] == 7
    assert found['chinampa_pool_cells{class="small",what="ready"}'] == 2
    assert found['chinampa_launch_refusals_total{code="InsufficientInstanceCapacity"}'] == 5
    assert found['chinampa_cloud_calls_total{action="CreateFleet",outcome="ok",service="ec2"}'] == 3
    assert found['chinampa_cloud_throttles_total{action="CreateFleet",service="ec2"}'] == 2


def test_each_stage_of_a_launch_is_observed_once() -> None:
    metrics, stages = metrics_of(Fleet()), Stages()
    moments = {"requested": 0.0, "launching": 0.5}
    for name, at in (("booting", 2.0), ("ready", 9.0), ("connected", 9.2), ("pulling", 9.3), ("pulled", 11.3)):
        moments = {**moments, name: at}
        for _ in range(2):
            metrics.changed(cell("a", "default", moments=moments), stages)
    found = samples(metrics)

    for stage, seconds in (("claim-to-launched", 2.0), ("launched-to-joined", 7.0), ("pull", 2.0)):
        assert found[f'chinampa_launch_stage_seconds_count{{stage="{stage}"}}'] == 1
        assert found[f'chinampa_launch_stage_seconds_sum{{stage="{stage}"}}'] == pytest.approx(seconds)


def test_a_cell_cannot_tell_of_a_pull_that_is_longer_than_any() -> None:
    metrics = metrics_of(Fleet())
    metrics.changed(cell("a", "default", moments={"pulling": 1.0, "pulled": 9e15}), Stages())

    assert samples(metrics)['chinampa_launch_stage_seconds_sum{stage="pull"}'] == LONGEST


def test_cells_of_an_earlier_life_are_not_observed_again() -> None:
    old = cell("a", "default", moments={"requested": 0.0, "booting": 2.0})
    metrics, stages = metrics_of(Fleet(old)), Stages([old])
    metrics.changed(old, stages)
    metrics.changed(msgspec.structs.replace(old, moments={**old.moments, "ready": 3.0}), stages)
    found = samples(metrics)

    assert found['chinampa_launch_stage_seconds_count{stage="claim-to-launched"}'] == 0
    assert found['chinampa_launch_stage_seconds_count{stage="launched-to-joined"}'] == 1


def test_a_lost_cell_is_counted_once_by_what_it_was_doing() -> None:
    metrics, stages = metrics_of(Fleet()), Stages()
    booting = cell("a", state=CellState.LOST, moments={"requested": 0.0, "booting": 1.0, "lost": 300.0})
    for state in (CellState.LOST, CellState.LOST, CellState.GONE):
        metrics.changed(msgspec.structs.replace(booting, state=state), stages)
    metrics.changed(cell("b", state=CellState.LOST, moments={"requested": 0.0}), stages)

    found = {key: value for key, value in samples(metrics).items() if key.startswith("chinampa_cells_lost_total")}
    assert found == {
        'chinampa_cells_lost_total{stage="booting"}': 1,
        'chinampa_cells_lost_total{stage="launching"}': 1,
    }


async def test_writes_to_the_store_are_timed_and_refusals_of_the_store_told_apart() -> None:
    metrics = metrics_of(Fleet())
    memory = MemoryStore()
    store = TimedStore(memory, metrics.wrote)
    await store.put("k", "a", b"", expected=0)
    with pytest.raises(Fault):
        await store.put("k", "a", b"", expected=0)
    await store.delete("k", "a")

    async def broken(*_: object, **__: object) -> int:
        raise Fault(Kind.UNAVAILABLE, "store", "no space is left")

    memory.put = broken  # type: ignore[method-assign]
    assert not store.fault
    with pytest.raises(Fault):
        await store.put("k", "b", b"")
    assert "no space is left" in store.fault, "as `chinampa status` says"
    await store.delete("k", "a")
    assert not store.fault, "nor says longer"
    found = samples(metrics)
    assert found['chinampa_store_write_seconds_count{outcome="ok"}'] == 4
    assert found['chinampa_store_write_seconds_count{outcome="failed"}'] == 1


async def test_sessions_are_counted_while_they_last() -> None:
    async with cells() as fleet:
        ways = Ways(Carrier(b"key"))
        claim = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="d", name="p"), demand=demand_of(None))
        double = fleet.doubles[(await fleet.claim(claim)).name]
        backend = CountedBackend(cast("Any", double), ways.sessions)
        metrics = metrics_of(Fleet(), ways)
        with pytest.raises(Fault):
            async with backend.attach(SessionRequest(container_id="nobody")):
                pass
        assert samples(metrics)['chinampa_sessions_begun_total{kind="attach"}'] == 0
        async with backend.exec(SessionRequest(container_id="any", command=("true",))):
            assert samples(metrics)['chinampa_sessions{kind="exec"}'] == 1
        found = samples(metrics)
        assert found['chinampa_sessions{kind="exec"}'] == 0
        assert found['chinampa_sessions_begun_total{kind="exec"}'] == 1


async def test_metrics_are_served_with_the_token_on_the_api_without_on_their_own_port_and_on_the_socket(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path / "link", ["127.0.0.1"])
    settings = ApiSettings(folder=tmp_path, certify=partial(authority.certify, "api"), authority=authority.pem)
    metrics = Metrics()
    gate = Gate(Grants(MemoryStore(), time.time), Audit(None, time.time, reads=False, largest=1, files=1))
    async with cells() as fleet:
        telling = cast("Any", fleet)
        measured = ScrapeSources(telling, Cloud(), lambda: 5.0, Ways(Carrier(b"key")))
        async with (
            objects(MemoryStore()) as library,
            engine.running(
                telling, library, identity(), Ways(Carrier(b"key")), folder=tmp_path / "pods", demand_of=demand_of
            ) as pods,
            server.running(library, pods, telling, settings, gate, metrics) as api,
            measuring.running(metrics, measured, "127.0.0.1", 0) as port,
            admin.running(telling, tmp_path, dict, Cloud(), metrics, tuple),
        ):
            context = ssl.create_default_context(cadata=authority.pem.decode())
            token = msgspec.json.decode(Path(api.kubeconfig).read_bytes())["users"][0]["user"]["token"]
            address = f"https://127.0.0.1:{api.port}/metrics"
            bearer = {"Authorization": f"Bearer {token}"}
            open_metrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
            async with aiohttp.ClientSession() as session:
                async with session.get(address, ssl=context) as reply:
                    assert reply.status == 401
                async with session.get(address, ssl=context, headers=bearer) as reply:
                    assert "chinampa_usd_per_hour" in await reply.text()
                async with session.get(f"http://127.0.0.1:{port}/metrics", headers=open_metrics) as reply:
                    assert reply.content_type == "application/openmetrics-text"
                    assert (await reply.text()).endswith("# EOF\n")
                async with session.get(f"http://127.0.0.1:{port}/cells") as reply:
                    assert reply.status == 404
            connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get("http://controller/metrics") as reply:
                    assert 'chinampa_info{cloud="fake"' in await reply.text()
