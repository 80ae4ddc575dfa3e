"""A store is lost and the keys are not: a cell is believed only what was signed for it, whatever it tells."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.records import CarriedSandbox, SandboxRecord
from tests.support.files import below
from tests.support.hostile import Honest, HostileCell, beside_an_attacker, cell_of, disk_of
from tests.support.shim import settings_in

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]


def forge(cell: HostileCell, victim: str, stolen: bytes, canary: Path) -> None:
    """Tell of the victim's pod, at a later attempt, with paths of the controller's own machine."""
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=Honest.NAME, namespace="default", uid=victim, attempt=99),
        log_directory=str(canary.parent),
        annotations={
            "chinampa.dev/manifest": json.dumps(
                {
                    "metadata": {"name": Honest.NAME, "namespace": "default", "uid": victim},
                    "spec": {"containers": [{"name": "../../../../" + str(canary), "image": "x"}]},
                }
            )
        },
    )
    told = base64.b64encode(config.SerializeToString()).decode()
    sandbox = cri.PodSandbox(id="f" * 64, metadata=config.metadata, annotations=config.annotations)
    status = cri.PodSandboxStatus(id="f" * 64, metadata=config.metadata, annotations=config.annotations)
    mount = cri.Mount(host_path=f"/var/lib/chinampa/pods/{victim}/../..{canary}", container_path="/x")
    container = cri.ContainerStatus(
        id="e" * 64,
        metadata=cri.ContainerMetadata(name="c"),
        state=cri.CONTAINER_EXITED,
        log_path=str(canary),
        mounts=[mount],
    )
    cell.say("ListPodSandbox", cri.ListPodSandboxResponse(items=[sandbox]))
    cell.say("PodSandboxStatus", cri.PodSandboxStatusResponse(status=status, info={"config": told}))
    cell.say("ListContainers", cri.ListContainersResponse(containers=[cri.Container(id="e" * 64)]))
    cell.say("ContainerStatus", cri.ContainerStatusResponse(status=container))
    claim = PodClaim(
        pod=PodRef(uid=PodUid(victim), namespace="default", name=Honest.NAME, attempt=99),
        demand=Demand(cpu_millis=50, memory_mib=16),
        by="shim",
    )
    record = SandboxRecord(
        id="f" * 64,
        cell=CellName(cell.name),
        uid=f"../../../..{canary}",
        attempt=99,
        config=config.SerializeToString(),
        status=status.SerializeToString(),
    )
    forged = bytes(32) + msgspec.msgpack.encode(CarriedSandbox(claim=claim, record=record))

    async def read(request: wire.ReadFileRequest) -> AsyncIterator[wire.ReadFileReply]:
        yield wire.ReadFileReply(data=stolen if "/pod/" in request.path else forged)

    cell.script("ReadFile", read)
    cell.say("Logs", wire.LogChunk(data=b"overwritten\n", end=True))


async def test_nothing_but_what_was_signed_for_a_cell_brings_its_pod_back(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"untouched")
    async with beside_an_attacker(tmp_path, settings_in(tmp_path)) as (controller, cell, honest):
        victim = await controller.kubectl("get", "pod", Honest.NAME, "-o", "jsonpath={.metadata.uid}")
        honest_cell = await cell_of(controller, Honest.NAME)
        stolen = (disk_of(controller, honest_cell["instance"]) / "carried/pod/record").read_bytes()
        assert victim.encode() in stolen
        forge(cell, victim, stolen, canary)
        read = cell.answered["ReadFile"]

        await controller.kill(signal.SIGKILL)
        for file in (controller.folder / "state").glob("records.sqlite*"):
            file.unlink()
        await controller.start()
        assert cell.answered["ReadFile"] >= read + 2, "it was asked, as a pod's and as a sandbox's"

        await honest.holds()
        cells = await controller.cells()
        assert [(one["name"], one["pod"]) for one in cells if one["pod"]] == [
            (honest_cell["name"], f"default/{Honest.NAME}")
        ]
        assert (await controller.kubectl("get", "pods", "-o", "name")).split() == [f"pod/{Honest.NAME}"]
        await controller.until(lambda cells: [one["name"] for one in cells] == [honest_cell["name"]])
        assert canary.read_bytes() == b"untouched"
        assert not [path for path in below(tmp_path) if b"overwritten" in _read(path)]


def _read(path: Path) -> bytes:
    """Of a small file; an instance's disk holds some that cannot be read."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else b""
    except OSError:
        return b""
