"""What a kubelet is told that takes its metrics from the runtime."""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from controller.sandboxes import measured
from controller.sandboxes.measured import Recorded
from tests.component.runtime.conftest import Agents
from tests.support.waiting import until_found


async def test_every_metric_that_is_told_was_described_with_its_labels(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        container = await client.create(sandbox, "sh", "-c", "exec sleep 60")
        await client.start(container)
        described = await call(client.stub.ListMetricDescriptors, cri.ListMetricDescriptorsRequest(), deadline=5)
        labels = {one.name: len(one.label_keys) for one in described.descriptors}
        told = await call(client.stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=5)

        (pod,) = told.pod_metrics
        metrics = [*pod.metrics, *(one for each in pod.container_metrics for one in each.metrics)]
        assert pod.pod_sandbox_id == sandbox
        assert [
            (one.name, len(one.label_values)) for one in metrics if labels.get(one.name) != len(one.label_values)
        ] == []
        assert {"container_network_receive_bytes_total", "container_memory_rss"} <= {one.name for one in pod.metrics}

        pods = await call(client.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=5)
        made = await call(client.stub.ListContainers, cri.ListContainersRequest(), deadline=5)
        own = Recorded(pods.items[0], {one.id: one for one in made.containers})
        measuring = cri.ListContainerStatsResponse(), cri.ListPodSandboxStatsResponse()
        as_told = cri.ListPodSandboxMetricsResponse.FromString(told.SerializeToString())
        assert measured.stats(*measuring, as_told, own).metrics == pod, "a controller takes all of it over"


async def test_a_containers_metrics_say_what_it_does_and_may_do(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        limits = cri.LinuxContainerResources(
            memory_limit_in_bytes=64 << 20, cpu_period=100_000, cpu_quota=50_000, cpu_shares=512
        )
        container = await client.create(
            sandbox, "sh", "-c", "echo there; exec sleep 60", linux=cri.LinuxContainerConfig(resources=limits)
        )
        await client.start(container)
        # Till then it is the runtime's own process, with as many threads as that likes.
        await until_found(lambda: client.log(container))
        told = await call(client.stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=5)

        (found,) = told.pod_metrics[0].container_metrics
        values = {one.name: one.value.value for one in found.metrics}
        assert values["container_spec_memory_limit_bytes"] == 64 << 20
        assert (values["container_spec_cpu_quota"], values["container_spec_cpu_period"]) == (50_000, 100_000)
        # Version 2 of control groups keeps a weight, which rounds.
        assert abs(values["container_spec_cpu_shares"] - 512) < 30
        assert values["container_processes"] == values["container_threads"] == 1
        assert values["container_file_descriptors"] >= 3
        assert values["container_memory_usage_bytes"] > 0
        assert values["container_fs_limit_bytes"] > values["container_fs_usage_bytes"] >= 0
        assert values["container_start_time_seconds"] <= values["container_last_seen"]
