"""What a kubelet asks of the shim beside lists and statuses, with a real cell."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support import cri_telling
from tests.support.shim import running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
WRITE = "head -c 1048576 /dev/urandom > /data; echo ready; while :; do sleep 0.01; done"


async def until_said(log: Path, word: str) -> None:
    async with asyncio.timeout(20):
        while not log.exists() or word not in log.read_text():
            await asyncio.sleep(0.05)


async def test_a_kubelet_finds_what_it_reads_of_the_runtime_and_of_its_pods(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        config = shim.config("u1")
        config.labels["app"] = "web"
        sandbox = await shim.run(config)
        wanted = cri.ContainerConfig(labels={"tier": "front"})
        wanted.linux.resources.memory_limit_in_bytes = 64 << 20
        container = await shim.create(sandbox, config, "sh", "-c", WRITE, more=wanted)
        await shim.start(container)
        await until_said(tmp_path / "logs/u1/c/0.log", "ready")
        told = await cri_telling.require_introduction(shim.runtime)
        assert json.loads(told.info["config"])["sandboxes"] == 1

        info = await call(shim.images.ImageFsInfo, cri.ImageFsInfoRequest(), deadline=5)
        mountpoint = info.image_filesystems[0].fs_id.mountpoint
        await cri_telling.require_stats(shim.runtime, sandbox, container, mountpoint)
        await cri_telling.require_metrics(shim.runtime, sandbox, container)
        await cri_telling.require_honest_refusals(shim.runtime, sandbox)
        asked = cri.CheckpointContainerRequest(container_id=container, location="/checkpoint.tar")
        with pytest.raises(Fault, match="a cell has no criu") as refused:
            await call(shim.runtime.CheckpointContainer, asked, deadline=5)
        assert refused.value.kind is Kind.UNSUPPORTED

        named: list[list[str]] = []
        for labels in ({"tier": "front"}, {"tier": "back"}):
            chosen = cri.ContainerStatsFilter(label_selector=labels, pod_sandbox_id=sandbox[:12])
            asked = cri.ListContainerStatsRequest(filter=chosen)
            listed = (await call(shim.runtime.ListContainerStats, asked, deadline=10)).stats
            streamed = await shim.runtime.StreamContainerStats(cri.StreamContainerStatsRequest(filter=chosen))
            assert [one for reply in streamed for one in reply.container_stats] == list(listed)
            named.append([one.attributes.id for one in listed])
        assert named == [[container], []]
        for app, found in (("web", [sandbox]), ("shop", [])):
            chosen_pods = cri.PodSandboxStatsFilter(label_selector={"app": app}, id=sandbox[:12])
            asked_pods = cri.ListPodSandboxStatsRequest(filter=chosen_pods)
            pods = (await call(shim.runtime.ListPodSandboxStats, asked_pods, deadline=10)).stats
            beside = await shim.runtime.StreamPodSandboxStats(cri.StreamPodSandboxStatsRequest(filter=chosen_pods))
            assert [one for reply in beside for one in reply.pod_sandbox_stats] == list(pods)
            assert [one.attributes.id for one in pods] == found

        await call(shim.runtime.StopContainer, cri.StopContainerRequest(container_id=container), deadline=30)
        async with asyncio.timeout(20):
            while (await shim.status(container)).state != cri.CONTAINER_EXITED:
                await asyncio.sleep(0.05)
        asked = cri.ListContainerStatsRequest()
        assert not (await call(shim.runtime.ListContainerStats, asked, deadline=10)).stats, "it uses nothing any more"


async def test_a_log_that_the_kubelet_moved_away_goes_on_in_a_new_file(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        script = "echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after; sleep 3600"
        _, container = await shim.pod("sh", "-c", script, uid="u1")
        log = tmp_path / "logs/u1/c/0.log"
        await until_said(log, "before")
        log.rename(log.with_suffix(".old"))
        asked = cri.ReopenContainerLogRequest(container_id=container)
        await call(shim.runtime.ReopenContainerLog, asked, deadline=10)
        await shim.said(container, "touch /go")
        await until_said(log, "after")
        assert log.with_suffix(".old").read_text().endswith("before\n")
        assert len(log.read_text().splitlines()) == 1
        with pytest.raises(Fault) as missing:
            await call(shim.runtime.ReopenContainerLog, cri.ReopenContainerLogRequest(container_id="no"), deadline=5)
        assert missing.value.kind is Kind.NOT_FOUND
