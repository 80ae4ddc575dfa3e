"""What a cell measures is told under its own names, and never what would end a kubelet or spoil its page of metrics."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.sandboxes import measured
from controller.sandboxes.measured import Measured, Recorded
from controller.sandboxes.told import UNTRUE

MINE, OTHERS, SANDBOX = "a" * 64, "b" * 64, "5" * 64
POD = cri.PodSandboxMetadata(name="web", namespace="shop", uid="u-1")
VICTIM = cri.PodSandboxMetadata(name="victim", namespace="default", uid="u-9")
OWN = Recorded(
    cri.PodSandbox(id=SANDBOX, metadata=POD, labels={"app": "web"}),
    {MINE: cri.Container(id=MINE, metadata=cri.ContainerMetadata(name="main"), labels={"app": "web"})},
)
MEMORY = "container_memory_rss"
FS = "container_fs_usage_bytes"


def of(name: str) -> cri.ContainerStats:
    attributes = cri.ContainerAttributes(
        id=name, metadata=cri.ContainerMetadata(name="victim"), labels={"io.kubernetes.pod.uid": "u-9"}
    )
    return cri.ContainerStats(attributes=attributes)


def metric(name: str = MEMORY, *own: str, **values: object) -> cri.Metric:
    said = {
        "name": name,
        "metric_type": cri.GAUGE,
        "label_values": ("/group", OTHERS, "image", "victim", "victim", "default", *own),
        "value": cri.UInt64Value(value=7),
    }
    return cri.Metric(**said | values)  # type: ignore[arg-type]


def told(
    containers: list[cri.ContainerStats] | None = None,
    pods: list[cri.PodSandboxStats] | None = None,
    metrics: list[cri.PodSandboxMetrics] | None = None,
) -> Measured:
    return measured.stats(
        cri.ListContainerStatsResponse(stats=containers or []),
        cri.ListPodSandboxStatsResponse(stats=pods or []),
        cri.ListPodSandboxMetricsResponse(pod_metrics=metrics or []),
        OWN,
    )


def series(*said: cri.Metric) -> list[cri.Metric]:
    """What is told on of these metrics of the container."""
    one = cri.ContainerMetrics(container_id=MINE, metrics=said)
    found = told(metrics=[cri.PodSandboxMetrics(pod_sandbox_id=SANDBOX, container_metrics=[one])]).metrics
    assert found is not None
    return list(found.container_metrics[0].metrics)


def test_stats_are_of_the_cells_own_and_under_their_own_names() -> None:
    pods = [
        cri.PodSandboxStats(
            attributes=cri.PodSandboxAttributes(id=name, metadata=VICTIM),
            linux=cri.LinuxPodSandboxStats(containers=[of(MINE), of(OTHERS)]),
        )
        for name in (OTHERS, SANDBOX)
    ]
    found = told([of(OTHERS), of(MINE)], pods)
    assert found.containers.keys() == {MINE}
    assert found.sandbox is not None
    assert found.sandbox.attributes.metadata == POD
    (inside,) = found.sandbox.linux.containers
    for one in (inside, found.containers[MINE]):
        assert (one.attributes.id, one.attributes.metadata.name) == (MINE, "main")
        assert dict(one.attributes.labels) == {"app": "web"}


def test_metrics_are_of_the_cells_own_and_under_their_own_names() -> None:
    said = [
        cri.PodSandboxMetrics(
            pod_sandbox_id=name,
            metrics=[metric()],
            container_metrics=[cri.ContainerMetrics(container_id=one, metrics=[metric()]) for one in (MINE, OTHERS)],
        )
        for name in (OTHERS, SANDBOX)
    ]
    found = told(metrics=said).metrics
    assert found is not None
    assert list(found.metrics[0].label_values) == ["/group", SANDBOX, "image", "", "web", "shop"]
    assert [one.container_id for one in found.container_metrics] == [MINE]
    assert list(found.container_metrics[0].metrics[0].label_values) == [
        "/group", MINE, "image", "main", "web", "shop",
    ]  # fmt: skip


def test_what_would_end_a_kubelet_is_not_told_on() -> None:
    valueless = metric()
    valueless.ClearField("value")
    kindless = cri.Metric.FromString(metric().SerializeToString() + b"\x18\x63")
    for one in (
        valueless,
        kindless,
        metric("unheard_of"),
        metric(FS),
        metric(MEMORY, "one too many"),
        metric(timestamp=-1),
        metric(timestamp=2**63 - 1),
        metric(FS, "x" * 5000),
    ):
        assert series(one, metric(FS, "8:0")) == series(metric(FS, "8:0"))
    bare = cri.PodSandboxStats(attributes=cri.PodSandboxAttributes(id=SANDBOX))
    bare.linux.network.timestamp = 1
    for pod in (bare, cri.PodSandboxStats(attributes=cri.PodSandboxAttributes(id=SANDBOX))):
        found = told([cri.ContainerStats(attributes=cri.ContainerAttributes(id=MINE))], [pod])
        assert found.containers[MINE].attributes.metadata.name == "main"
        assert found.sandbox is not None
        assert found.sandbox.HasField("linux")
        assert not found.sandbox.linux.HasField("network")


def test_a_series_is_told_once_whatever_else_it_was_called() -> None:
    again = metric(label_values=("/group", MINE, "image", "other", "pods", "name"))
    assert len(series(metric(), again, metric(FS, "8:0"), metric(FS, "8:1"))) == 3


def test_endless_stats_end_the_session() -> None:
    with pytest.raises(Fault) as found:
        told([cri.ContainerStats()] * 1001)
    assert found.value.reason == UNTRUE
    with pytest.raises(Fault) as found:
        told(metrics=[cri.PodSandboxMetrics(pod_sandbox_id="x" * (2 << 20))])
    assert found.value.reason == UNTRUE
