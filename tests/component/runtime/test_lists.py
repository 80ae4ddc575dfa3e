"""Lists by every filter, and streamed lists that say the same in several messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from cellagent.runtime import answering
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client


async def sandboxes(client: Client, **wanted: Any) -> set[str]:
    """By ListPodSandbox, which must say what StreamPodSandboxes says."""
    chosen = cri.PodSandboxFilter(**wanted)
    listed = await call(client.stub.ListPodSandbox, cri.ListPodSandboxRequest(filter=chosen), deadline=10)
    streamed = await client.stub.StreamPodSandboxes(cri.StreamPodSandboxesRequest(filter=chosen))
    assert [one for reply in streamed for one in reply.pod_sandboxes] == list(listed.items)
    require_pages(len(reply.pod_sandboxes) for reply in streamed)
    return {one.id for one in listed.items}


async def containers(client: Client, **wanted: Any) -> set[str]:
    """By ListContainers, which must say what StreamContainers says."""
    chosen = cri.ContainerFilter(**wanted)
    listed = await call(client.stub.ListContainers, cri.ListContainersRequest(filter=chosen), deadline=10)
    streamed = await client.stub.StreamContainers(cri.StreamContainersRequest(filter=chosen))
    assert [one for reply in streamed for one in reply.containers] == list(listed.containers)
    require_pages(len(reply.containers) for reply in streamed)
    return {one.id for one in listed.containers}


async def container_stats(client: Client, **wanted: Any) -> set[str]:
    """By ListContainerStats, which must name those that StreamContainerStats names."""
    chosen = cri.ContainerStatsFilter(**wanted)
    listed = await call(client.stub.ListContainerStats, cri.ListContainerStatsRequest(filter=chosen), deadline=10)
    streamed = await client.stub.StreamContainerStats(cri.StreamContainerStatsRequest(filter=chosen))
    named = [one.attributes for reply in streamed for one in reply.container_stats]
    assert named == [one.attributes for one in listed.stats]
    require_pages(len(reply.container_stats) for reply in streamed)
    return {one.attributes.id for one in listed.stats}


async def sandbox_stats(client: Client, **wanted: Any) -> set[str]:
    """By ListPodSandboxStats, which must name those that StreamPodSandboxStats names."""
    chosen = cri.PodSandboxStatsFilter(**wanted)
    listed = await call(client.stub.ListPodSandboxStats, cri.ListPodSandboxStatsRequest(filter=chosen), deadline=10)
    streamed = await client.stub.StreamPodSandboxStats(cri.StreamPodSandboxStatsRequest(filter=chosen))
    named = [one.attributes for reply in streamed for one in reply.pod_sandbox_stats]
    assert named == [one.attributes for one in listed.stats]
    require_pages(len(reply.pod_sandbox_stats) for reply in streamed)
    return {one.attributes.id for one in listed.stats}


def require_pages(sizes: Iterable[int]) -> None:
    assert all(0 < size <= answering.PAGE for size in sizes)


async def test_sandboxes_and_containers_are_listed_by_every_filter_and_streamed_alike(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PAGE", 2)
    exited = cri.ContainerStateValue(state=cri.CONTAINER_EXITED)
    running = cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)
    created = cri.ContainerStateValue(state=cri.CONTAINER_CREATED)
    ready = cri.PodSandboxStateValue(state=cri.SANDBOX_READY)
    not_ready = cri.PodSandboxStateValue(state=cri.SANDBOX_NOTREADY)
    async with agent() as client:
        assert await sandboxes(client) == await containers(client) == await container_stats(client) == set()
        web = await client.sandbox(client.sandbox_config(labels={"app": "web", "tier": "front"}))
        shop = await client.sandbox(client.sandbox_config(labels={"app": "shop", "tier": "front"}))
        over = await client.sandbox(client.sandbox_config(labels={"app": "web"}))
        one = await client.create(web, "sleep", "100", name="one", labels={"kind": "server"})
        two = await client.create(web, "true", name="two", labels={"kind": "job"})
        three = await client.create(shop, "sleep", "100", name="three", labels={"kind": "server"})
        four = await client.create(shop, "sleep", "100", name="four", labels={"kind": "server", "extra": "yes"})
        for container in (one, two, four):
            await client.start(container)
        await client.exited(two)
        await call(client.stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=over), deadline=30)

        assert await sandboxes(client) == {web, shop, over}
        assert await sandboxes(client, state=ready) == {web, shop}
        assert await sandboxes(client, state=not_ready) == {over}
        assert await sandboxes(client, label_selector={"app": "web"}) == {web, over}
        assert await sandboxes(client, label_selector={"app": "web", "tier": "front"}) == {web}
        assert await sandboxes(client, label_selector={"app": "web"}, state=not_ready) == {over}
        assert await sandboxes(client, id=shop[:12]) == await sandboxes(client, id=shop) == {shop}
        assert await sandboxes(client, id=shop, state=not_ready) == await sandboxes(client, id="unknown") == set()

        assert await containers(client) == {one, two, three, four}
        assert await containers(client, state=running) == {one, four}
        assert await containers(client, state=created) == {three}
        assert await containers(client, state=exited, pod_sandbox_id=shop) == set()
        assert await containers(client, pod_sandbox_id=shop) == {three, four}
        assert await containers(client, pod_sandbox_id=shop[:12], label_selector={"extra": "yes"}) == {four}
        assert await containers(client, label_selector={"kind": "server"}, state=running) == {one, four}
        assert await containers(client, id=two, pod_sandbox_id=shop) == await containers(client, id="no") == set()
        assert await containers(client, id=two[:12], state=exited, label_selector={"kind": "job"}) == {two}

        assert await container_stats(client) == {one, four}
        assert await container_stats(client, pod_sandbox_id=web) == await container_stats(client, id=one[:12]) == {one}
        assert await container_stats(client, label_selector={"kind": "server", "extra": "yes"}) == {four}
        assert await container_stats(client, id=one, pod_sandbox_id=shop) == set()
        assert await sandbox_stats(client) == {web, shop}
        assert await sandbox_stats(client, label_selector={"app": "web"}) == {web}
        assert await sandbox_stats(client, id=shop[:12]) == {shop}
        assert await sandbox_stats(client, id=shop, label_selector={"app": "web"}) == set()


async def test_metrics_are_streamed_as_they_are_listed(agent: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "PAGE", 2)
    async with agent() as client:
        wanted = [await client.sandbox() for _ in range(3)]
        listed = await call(client.stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=10)
        streamed = await client.stub.StreamPodSandboxMetrics(cri.StreamPodSandboxMetricsRequest())
        pods = [one for reply in streamed for one in reply.pod_sandbox_metrics]
        assert [one.pod_sandbox_id for one in pods] == [one.pod_sandbox_id for one in listed.pod_metrics] == wanted
        for first, second in zip(listed.pod_metrics, pods, strict=True):
            assert [one.name for one in first.metrics] == [one.name for one in second.metrics]
        assert [len(reply.pod_sandbox_metrics) for reply in streamed] == [2, 1]
