"""What CNI plugins hold for a sandbox is given back, though they fail, the machine boots anew or records are lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellagent.images import room as images
from cellagent.kernel import mounts
from cellagent.network import cni, links
from cellagent.runtime import room, sandbox
from cellagent.runtime.settings import RuntimeSettings
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from tests.component.runtime.conftest import BRIDGE, SUBNET
from tests.support.waiting import until, until_found

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts are real here"),
    pytest.mark.timeout(300),
]
# Holds an address on disk, as host-local does, fails while its servant is down, and waits while that is slow.
PLUGIN = """#!/bin/sh
cat >/dev/null
cd {folder}
[ "$CNI_COMMAND" = ADD ] && echo "$CNI_CONTAINERID" >held/$CNI_CONTAINERID
[ ! -e down ] || {{ echo '{{"code": 11, "msg": "the servant is down"}}'; exit 1; }}
while [ -e slow ]; do sleep 0.05; done
case $CNI_COMMAND in
ADD) echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "10.5.81.2/24"}}]}}' ;;
DEL) rm -f held/$CNI_CONTAINERID ;;
esac
"""


class Machine:
    """A machine whose network is one plugin's."""

    def __init__(self, folder: Path) -> None:
        self.state, self.held = folder / "state", folder / "held"
        self.down, self.slow = folder / "down", folder / "slow"
        self.settings = RuntimeSettings(
            root=folder / "root", state=self.state, plugins=cni.Plugins(folder / "net.d", (folder / "bin",))
        )
        for name in ("held", "net.d", "bin"):
            (folder / name).mkdir()
        network = {"cniVersion": "1.0.0", "name": "any", "plugins": [{"type": "holding"}]}
        (folder / "net.d/10-any.conflist").write_text(json.dumps(network))
        (folder / "bin/holding").write_text(PLUGIN.format(folder=folder))
        (folder / "bin/holding").chmod(0o755)

    def holding(self) -> list[str]:
        """The sandboxes for which the plugin holds an address."""
        return sorted(path.name for path in self.held.iterdir())

    @asynccontextmanager
    async def agent(self) -> AsyncGenerator[runtime_grpc.RuntimeServiceStub]:
        socket = self.settings.root.parent / "s"
        image_settings = images.ImageSettings(root=self.settings.root / "images")
        async with (
            images.running(image_settings) as image_room,
            room.running(self.settings, image_room.store) as runtime,
            serving([runtime.service, image_room.service], socket),
        ):
            channel = MendedChannel(CELL, path=str(socket))
            try:
                yield runtime_grpc.RuntimeServiceStub(channel)
            finally:
                channel.close()


async def run(stub: runtime_grpc.RuntimeServiceStub, attempt: int = 0) -> str:
    meta = cri.PodSandboxMetadata(name="pod", uid="u", namespace="test", attempt=attempt)
    asked = cri.RunPodSandboxRequest(config=cri.PodSandboxConfig(metadata=meta))
    return (await call(stub.RunPodSandbox, asked, deadline=30)).pod_sandbox_id


async def states(stub: runtime_grpc.RuntimeServiceStub) -> list[cri.PodSandboxState.ValueType]:
    listed = await call(stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
    return [one.state for one in listed.items]


async def stop(stub: runtime_grpc.RuntimeServiceStub, sandbox_id: str) -> None:
    await call(stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id), deadline=30)


async def remove(stub: runtime_grpc.RuntimeServiceStub, sandbox_id: str) -> None:
    asked = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
    await call(stub.RemovePodSandbox, asked, deadline=30)


async def test_the_bridge_waits_for_the_next_pod_and_goes_with_an_agent_that_has_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    bare = tmp_path / "bare"
    machine.settings = RuntimeSettings(
        root=tmp_path / "root", state=machine.state, bridge=BRIDGE, subnet=SUBNET, plugins=cni.Plugins(bare)
    )
    async with machine.agent() as stub:
        await remove(stub, await run(stub))
        number = links.number(BRIDGE)
        assert number
        made = await run(stub)
        assert links.number(BRIDGE) == number
    assert links.number(BRIDGE) == number
    async with machine.agent() as stub:
        await remove(stub, made)
    assert not links.number(BRIDGE)


async def test_sandboxes_that_plugins_could_neither_make_nor_take_away_leave_nothing_once_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "RETRY_SECONDS", 0.1)
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        machine.down.touch()
        for attempt in range(3):
            with pytest.raises(Fault, match="the servant is down"):
                await run(stub, attempt)
        with pytest.raises(Fault, match="cannot be taken away yet"):
            await run(stub)
        assert await states(stub) == [cri.SANDBOX_NOTREADY] * 3
        machine.down.unlink()

        async def forgotten() -> bool:
            return await states(stub) == []

        await until_found(forgotten)
        assert machine.holding() == []
        assert mounts.mounted_below(machine.state) == []
        made = await run(stub)
        assert machine.holding() == [made]
        await remove(stub, made)
        assert machine.holding() == []
        bad = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="pod", uid="u", namespace="test"))
        bad.port_mappings.add(container_port=80, host_port=8080, host_ip="nowhere")
        with pytest.raises(Fault, match="nowhere"):
            await call(stub.RunPodSandbox, cri.RunPodSandboxRequest(config=bad), deadline=30)
        assert await states(stub) == []


async def test_a_sandbox_that_could_not_be_stopped_is_once_it_can_though_nobody_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "RETRY_SECONDS", 0.1)
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        made = await run(stub)
        machine.down.touch()
        with pytest.raises(Fault, match="the servant is down"):
            await stop(stub, made)
        assert machine.holding() == [made]
        machine.down.unlink()
        await until(lambda: not machine.holding())
        await until(lambda: mounts.mounted_below(machine.state) == [])
        assert await states(stub) == [cri.SANDBOX_NOTREADY]
        machine.down.touch()
        await remove(stub, made)
        assert await states(stub) == []


async def test_a_sandbox_that_is_stopped_while_a_plugin_is_at_work_for_it_was_never_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.slow.touch()
    async with machine.agent() as stub:
        making = asyncio.create_task(run(stub))
        await until(machine.holding)
        (made,) = machine.holding()
        stopping = asyncio.create_task(stop(stub, made))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        machine.slow.unlink()
        with pytest.raises(Fault, match="it was stopped while it was being made"):
            await making
        await stopping
        assert await states(stub) == []
        assert machine.holding() == []
        assert mounts.mounted_below(machine.state) == []
        again = await run(stub)
        assert again != made
        await remove(stub, again)


async def test_what_an_earlier_call_made_is_taken_away_once_though_it_is_stopped_meanwhile(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        machine.down.touch()
        with pytest.raises(Fault, match="the servant is down"):
            await run(stub)
        (undone,) = machine.holding()
        await asyncio.sleep(0.3)  # the agent itself has tried, too
        machine.slow.touch()
        machine.down.unlink()
        making = asyncio.create_task(run(stub))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(stop(stub, undone))
        await asyncio.sleep(0.2)
        machine.slow.unlink()
        await stopping
        made = await making
        assert await states(stub) == [cri.SANDBOX_READY]
        assert machine.holding() == [made]
        await remove(stub, made)
        assert mounts.mounted_below(machine.state) == []


async def test_an_address_is_given_back_after_a_reboot_that_emptied_the_state(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        made = await run(stub)
    assert machine.holding() == [made]
    mounts.unmount_below(machine.state)
    shutil.rmtree(machine.state)
    async with machine.agent() as stub:
        await until(lambda: not machine.holding())
        assert await states(stub) == []


async def test_an_address_is_given_back_after_a_reboot_that_kept_the_records(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        made = await run(stub)
    mounts.unmount_below(machine.state)
    async with machine.agent() as stub:
        assert await states(stub) == [cri.SANDBOX_NOTREADY]
        await until(lambda: not machine.holding())
        await remove(stub, made)
        assert await states(stub) == []


async def test_a_record_that_cannot_be_read_leaves_no_mount_and_no_address(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.agent() as stub:
        made = await run(stub)
    (machine.settings.sandbox_folder(made) / "record").write_bytes(b"torn")
    async with machine.agent() as stub:
        assert await states(stub) == []
        assert mounts.mounted_below(machine.state) == []
        await until(lambda: not machine.holding())
