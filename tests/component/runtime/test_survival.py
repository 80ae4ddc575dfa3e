"""Containers, logs and exit codes outlive an agent that is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import msgspec

from cellagent.kernel import mounts
from cellagent.runtime.ledger import Phase, SandboxEntry
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from tests.component.runtime.conftest import Agents, Processes


async def test_a_killed_agent_finds_its_containers_running_and_ended(agent_process: Processes) -> None:
    async with agent_process() as agent:
        running = await agent.client.run("sh", "-c", "while :; do echo tick; sleep 0.05; done")
        ending = await agent.client.run("sh", "-c", "sleep 0.5; echo last; exit 5")
        waiting = await agent.client.create(await agent.client.sandbox(), "true")
        await agent.end(signal.SIGKILL)
        await asyncio.sleep(0.8)
        await agent.start()
        client = agent.client
        assert (await client.status(running)).state == cri.CONTAINER_RUNNING
        assert (await client.status(waiting)).state == cri.CONTAINER_CREATED
        status = await client.exited(ending)
        assert status.exit_code == 5
        assert "last" in await client.log(ending)
        before = (await client.log(running)).count("tick")
        assert before > 10
        assert (await client.exec(running, "true")).exit_code == 0
        await client.start(waiting)
        assert (await client.exited(waiting)).exit_code == 0
        await client.stop(running)
        assert (await client.status(running)).exit_code == 137


async def test_what_an_agent_was_putting_when_it_was_killed_is_removed_by_the_next(
    agent: Agents, tmp_path: Path
) -> None:
    volumes = tmp_path / "volumes"
    async with agent() as client:
        client.room.tree(str(volumes / "vol"), keep_existing=False).begin(wire.FileEntry(path="a", mode=0o100600))
        assert list(volumes.iterdir())
    async with agent():
        assert not list(volumes.iterdir())


async def test_a_stop_of_a_sandbox_that_the_agent_did_not_finish_goes_on_when_it_is_back(
    agent_process: Processes,
) -> None:
    async with agent_process() as agent:
        sandbox = await agent.client.sandbox()
        container = await agent.client.create(sandbox, "sleep", "100")
        await agent.client.start(container)
        await agent.end(signal.SIGKILL)
        # As it stands between the first step of a stop and the next.
        file = agent.client.folder / "state/sandboxes" / sandbox / "record"
        record = msgspec.msgpack.decode(file.read_bytes(), type=SandboxEntry)
        file.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(record, phase=Phase.STOPPING)))
        await agent.start()
        assert (await agent.client.exited(container)).exit_code == 137
        async with asyncio.timeout(10):
            while Path(record.namespaces["net"]).exists():
                await asyncio.sleep(0.02)


async def test_what_belongs_to_containers_without_a_record_goes_when_the_agent_is_back(
    agent_process: Processes,
) -> None:
    async with agent_process() as agent:
        client = agent.client
        known = await client.create(await client.sandbox(), "true")
        unknown = await client.create(await client.sandbox(), "true", name="other")
        await agent.end(signal.SIGKILL)
        # As a reboot leaves it where records are in memory: no record, no mount, but the files on disk.
        shutil.rmtree(client.folder / "state/containers" / unknown)
        mounts.unmount_below(client.root / "containers" / unknown)
        await agent.start()

        def left() -> set[str]:
            holders = {one.name for one in (client.root / "images/holds").iterdir()}
            return holders | {one.name for one in (client.root / "containers").iterdir()}

        async with asyncio.timeout(10):
            while unknown in left():
                await asyncio.sleep(0.02)
        assert known in left()
        await agent.client.start(known)
        assert (await agent.client.exited(known)).exit_code == 0


async def test_a_container_whose_conmon_was_killed_is_ended_with_an_unknown_code(agent_process: Processes) -> None:
    async with agent_process() as agent:
        container = await agent.client.run("sleep", "100")
        pid = int(next((agent.client.folder / "state").glob(f"containers/{container}/conmon.pid")).read_text())
        os.kill(pid, signal.SIGKILL)
        status = await agent.client.exited(container)
        assert (status.exit_code, status.reason) == (255, "Unknown")


async def test_the_agent_is_light_and_serves_without_an_http_library(agent_process: Processes) -> None:
    async with agent_process() as agent:
        await agent.client.run("sleep", "100")
        status = Path(f"/proc/{agent.pid}/status").read_text()
        resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        print(f"resident: {resident} KiB")
        assert resident < 40 * 1024
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert "aiohttp" not in maps
        assert "cryptography" not in maps
