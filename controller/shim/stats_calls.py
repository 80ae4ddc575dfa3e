"""RuntimeService's calls of statistics and metrics: answered from the last numbers that cells have told."""

from __future__ import annotations

from grpclib.server import Stream

from cellwire.cri import cadvisor_metrics, match
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceBase
from controller.sandboxes.memory import Memory
from controller.sandboxes.stats import Stats
from controller.shim.replies import answer, pages


class StatsCalls(RuntimeServiceBase):
    """The calls of a RuntimeService for statistics; the others are in `runtime`."""

    def __init__(self, memory: Memory, stats: Stats) -> None:
        self._memory = memory
        self._stats = stats

    async def ContainerStats(self, stream: Stream[cri.ContainerStatsRequest, cri.ContainerStatsResponse]) -> None:
        async def stats(request: cri.ContainerStatsRequest) -> cri.ContainerStatsResponse:
            record = self._memory.container(request.container_id)
            await self._stats.complete()
            return cri.ContainerStatsResponse(stats=self._stats.containers.get(record.id))

        await answer(stream, stats)

    async def ListContainerStats(
        self, stream: Stream[cri.ListContainerStatsRequest, cri.ListContainerStatsResponse]
    ) -> None:
        async def listed(request: cri.ListContainerStatsRequest) -> cri.ListContainerStatsResponse:
            await self._stats.complete()
            return cri.ListContainerStatsResponse(stats=self._container_stats(request.filter))

        await answer(stream, listed)

    async def StreamContainerStats(
        self, stream: Stream[cri.StreamContainerStatsRequest, cri.StreamContainerStatsResponse]
    ) -> None:
        request = await stream.recv_message()
        if request is not None:
            await self._stats.complete()
            for page in pages(self._container_stats(request.filter)):
                await stream.send_message(cri.StreamContainerStatsResponse(container_stats=page))

    async def PodSandboxStats(self, stream: Stream[cri.PodSandboxStatsRequest, cri.PodSandboxStatsResponse]) -> None:
        async def stats(request: cri.PodSandboxStatsRequest) -> cri.PodSandboxStatsResponse:
            record = self._memory.sandbox(request.pod_sandbox_id)
            await self._stats.complete()
            return cri.PodSandboxStatsResponse(stats=self._stats.sandboxes.get(record.id))

        await answer(stream, stats)

    async def ListPodSandboxStats(
        self, stream: Stream[cri.ListPodSandboxStatsRequest, cri.ListPodSandboxStatsResponse]
    ) -> None:
        async def listed(request: cri.ListPodSandboxStatsRequest) -> cri.ListPodSandboxStatsResponse:
            await self._stats.complete()
            return cri.ListPodSandboxStatsResponse(stats=self._sandbox_stats(request.filter))

        await answer(stream, listed)

    async def StreamPodSandboxStats(
        self, stream: Stream[cri.StreamPodSandboxStatsRequest, cri.StreamPodSandboxStatsResponse]
    ) -> None:
        request = await stream.recv_message()
        if request is not None:
            await self._stats.complete()
            for page in pages(self._sandbox_stats(request.filter)):
                await stream.send_message(cri.StreamPodSandboxStatsResponse(pod_sandbox_stats=page))

    async def ListMetricDescriptors(
        self, stream: Stream[cri.ListMetricDescriptorsRequest, cri.ListMetricDescriptorsResponse]
    ) -> None:
        await stream.recv_message()
        await stream.send_message(cri.ListMetricDescriptorsResponse(descriptors=cadvisor_metrics.descriptors()))

    async def ListPodSandboxMetrics(
        self, stream: Stream[cri.ListPodSandboxMetricsRequest, cri.ListPodSandboxMetricsResponse]
    ) -> None:
        await stream.recv_message()
        await self._stats.complete()
        await stream.send_message(cri.ListPodSandboxMetricsResponse(pod_metrics=self._stats.metrics.values()))

    async def StreamPodSandboxMetrics(
        self, stream: Stream[cri.StreamPodSandboxMetricsRequest, cri.StreamPodSandboxMetricsResponse]
    ) -> None:
        await stream.recv_message()
        await self._stats.complete()
        for page in pages(tuple(self._stats.metrics.values())):
            await stream.send_message(cri.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=page))

    def _container_stats(self, wanted: cri.ContainerStatsFilter) -> tuple[cri.ContainerStats, ...]:
        # Of one that has ended the last numbers are still known.
        running = (one for one in self._memory.listed_containers() if one.state == cri.CONTAINER_RUNNING)
        sandbox_of = {one.id: one.pod_sandbox_id for one in running}
        return tuple(
            stats
            for key, stats in self._stats.containers.items()
            if key in sandbox_of and match.container_stats_match(wanted, stats, sandbox_of[key])
        )

    def _sandbox_stats(self, wanted: cri.PodSandboxStatsFilter) -> tuple[cri.PodSandboxStats, ...]:
        return tuple(stats for stats in self._stats.sandboxes.values() if match.sandbox_stats_match(wanted, stats))
