"""What a cluster's pods ask for, what is told of their cells in events, and what a kubeconfig says."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.cluster import kubeconfig
from controller.cluster.client import ApiClient
from controller.cluster.node_pods import PATIENCE, NodePods
from controller.cluster.pod_events import EventMemory, Events
from controller.model.cell import Announcement, Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodRef
from tests.support.cells_double import OFFER
from tests.support.waiting import until

Json = dict[str, Any]
SMALL, LARGE = Demand(cpu_millis=100, memory_mib=64), Demand(cpu_millis=50, memory_mib=900, gpus=1)
POD = PodRef(uid=PodUid("u"), namespace="n", name="web")


def sandbox(uid: str = "u") -> cri.PodSandboxConfig:
    return cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="web", namespace="n", uid=uid))


def of_pod(_spec: Any) -> Demand:
    return LARGE


def of_sandbox(_config: Any) -> Demand:
    return SMALL


def test_a_pod_is_sized_by_the_larger_of_what_it_asks_and_what_cri_tells() -> None:
    pods = NodePods()
    pods.listed([{"metadata": {"uid": "u"}, "spec": {}}])
    asked = pods.demand(sandbox(), of_pod, of_sandbox)
    assert (asked.cpu_millis, asked.memory_mib, asked.gpus) == (100, 900, 1)


def test_a_pod_that_nobody_told_of_is_waited_for_and_then_sized_by_cri() -> None:
    now = [100.0]
    pods = NodePods(lambda: now[0])
    with pytest.raises(Fault) as refused:
        pods.demand(sandbox(), of_pod, of_sandbox)
    assert refused.value.kind is Kind.UNAVAILABLE
    now[0] += PATIENCE
    assert pods.demand(sandbox(), of_pod, of_sandbox) == SMALL
    pods.changed({"metadata": {"uid": "u"}, "spec": {}})
    pods.gone({"metadata": {"uid": "u"}})
    assert pods.find("u") is None


def test_a_static_pod_is_known_by_the_uid_that_its_kubelet_gave_it() -> None:
    pods = NodePods()
    pods.changed({"metadata": {"uid": "mirror", "annotations": {"kubernetes.io/config.mirror": "u"}}, "spec": {}})
    assert pods.demand(sandbox(), of_pod, of_sandbox).memory_mib == 900


def cell(state: CellState, **more: Any) -> Cell:
    return replace(Cell(name=CellName("c-1"), state=state, demand=SMALL), **more)


def test_each_thing_is_told_of_a_cell_once() -> None:
    told = EventMemory()
    assert [reason for _, reason, _ in told.news(cell(CellState.REQUESTED))] == ["Launching"]
    assert told.news(cell(CellState.LAUNCHING)) == []
    late = cell(CellState.LAUNCHING, reason="no capacity in any zone")
    ((kind, reason, message),) = told.news(late)
    assert (kind, reason) == ("Warning", "LaunchDelayed")
    assert "no capacity in any zone" in message
    had = cell(CellState.BOOTING, offer=OFFER, instance=InstanceId("i-1"))
    ((_, reason, message),) = told.news(had)
    assert reason == "Launched"
    assert "USD" in message
    taken = Announcement(
        kind=NoticeKind.INTERRUPTION, at=0.0, message="taken", heard_at=0.0, ends=True, ending_since=0.0
    )
    assert [reason for _, reason, _ in told.news(replace(had, announced=taken))] == ["Interrupted"]
    assert [reason for _, reason, _ in told.news(cell(CellState.LOST, reason="silent"))] == ["CellLost"]


class Door:
    """An API server that keeps events, and loses one when it is told to."""

    def __init__(self) -> None:
        self.events: dict[str, Json] = {}
        self.refuse = 0

    async def post(self, path: str, body: Json) -> Json:
        if self.refuse:
            self.refuse -= 1
            raise Fault(Kind.UNAVAILABLE, path, "not now")
        assert path == "/api/v1/namespaces/n/events"
        self.events[body["metadata"]["name"]] = body
        return body

    async def patch(self, path: str, body: Json) -> Json:
        name = path.rpartition("/")[2]
        if name not in self.events:
            raise Fault(Kind.NOT_FOUND, path, "not found")
        self.events[name] |= body
        return self.events[name]


async def test_what_is_said_again_raises_a_count_and_an_event_that_was_deleted_is_made_anew() -> None:
    door = Door()
    events = Events(cast("ApiClient", door), "node-1")
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(events.work())
        for _ in range(3):
            events.say(POD, "Normal", "Launching", "c-1")
        await until(lambda: [one["count"] for one in door.events.values()] == [3], 5)
        (one,) = door.events.values()
        assert (one["involvedObject"]["uid"], one["source"]["host"]) == ("u", "node-1")
        door.events.clear()
        events.say(POD, "Normal", "Launching", "c-1")
        await until(lambda: [one["count"] for one in door.events.values()] == [1], 5)
        work.cancel()


def written(folder: Path, **user: Any) -> Path:
    (folder / "ca.pem").write_text("PEM")
    data = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.test/", "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(data))
    return path


def test_a_kubeconfig_is_read_with_files_beside_it(tmp_path: Path) -> None:
    key = base64.b64encode(b"KEY").decode()
    access = kubeconfig.read(written(tmp_path, **{"client-certificate": "node.pem", "client-key-data": key}))
    assert (access.server, access.authority) == ("https://api.test", b"PEM")
    assert (access.certificate, access.key) == (tmp_path / "node.pem", b"KEY")


async def test_a_program_that_answers_with_a_token_is_asked_once_and_again_when_it_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "token"
    program.write_text(
        "#!/bin/sh\necho x >> " + str(tmp_path / "asked") + "\n"
        """echo '{"status": {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00Z"}}'\n"""
    )
    program.chmod(0o755)
    run = {"command": str(program), "apiVersion": "client.authentication.k8s.io/v1"}
    tokens = kubeconfig.BearerToken(kubeconfig.read(written(tmp_path, exec=run)))
    assert [await tokens.now(), await tokens.now()] == ["t", "t"]
    assert (tmp_path / "asked").read_text() == "x\n"
    tokens.refused()
    await tokens.now()
    assert (tmp_path / "asked").read_text() == "x\nx\n"


@pytest.mark.parametrize("text", ["", "[]", "a: {", "current-context: x"])
def test_what_is_no_kubeconfig_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(Fault, match="kubeconfig"):
        kubeconfig.read(path)
