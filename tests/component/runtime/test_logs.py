"""Log bytes by offset, followed to an end that is said, over rotation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client


async def collect(client: Client, container: str, offset: int, *, follow: bool) -> tuple[bytes, int, bool]:
    """All bytes, the position after the last, and whether the end was said."""
    data, end = b"", False
    async with asyncio.timeout(20):
        async for chunk in client.room.logs(container, offset, follow=follow):
            assert chunk.offset == offset
            data += chunk.data
            offset += len(chunk.data)
            end = chunk.end
    return data, offset, end


async def test_a_follower_gets_every_byte_and_the_end(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done")
        data, _, end = await collect(client, container, 0, follow=True)
        assert data.decode() == await client.log(container)
        assert data.count(b"line") == 3
        assert end


async def test_a_reader_begins_where_it_left_off(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "echo one; echo two")
        await client.exited(container)
        whole, length, end = await collect(client, container, 0, follow=False)
        assert end
        assert await collect(client, container, 10, follow=False) == (whole[10:], length, True)
        assert await collect(client, container, length, follow=True) == (b"", length, True)


async def test_reading_a_running_container_without_following_says_no_end(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "echo one; sleep 100")
        await asyncio.sleep(0.2)
        data, _, end = await collect(client, container, 0, follow=False)
        assert b"one" in data
        assert not end


@pytest.mark.parametrize("linked", [False, True])
async def test_offsets_count_on_over_rotation(agent: Agents, *, linked: bool) -> None:
    async with agent() as client:
        if linked:  # as /var/log/pods is on some nodes
            (client.folder / "elsewhere").mkdir()
            (client.folder / "logs").symlink_to("elsewhere")
        script = "echo before; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo after"
        container = await client.run("sh", "-c", script)
        await asyncio.sleep(0.2)
        path = Path((await client.status(container)).log_path)

        async with asyncio.TaskGroup() as group:
            following = group.create_task(collect(client, container, 0, follow=True))
            await asyncio.sleep(0.1)
            path.rename(path.with_suffix(".1"))
            request = cri.ReopenContainerLogRequest(container_id=container)
            await call(client.stub.ReopenContainerLog, request, deadline=10)
            await client.exec(container, "touch", "/tmp/go")
        data, length, end = following.result()
        assert end
        assert data == path.with_suffix(".1").read_bytes() + path.read_bytes()
        assert [line.split()[-1] for line in data.splitlines()] == [b"before", b"after"]
        late, _, _ = await collect(client, container, length - 5, follow=False)
        assert late == data[-5:]
