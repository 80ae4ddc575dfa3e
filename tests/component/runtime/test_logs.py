"""Log bytes by offset, followed to an end that is said, over rotation."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from hostkit import files
from tests.component.runtime.conftest import Agents, Client, running_agent

MANY = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i of a log that is long; done"


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


def space_of(log: Path) -> int:
    return log.stat().st_blocks * 512


async def what_is_left(client: Client, container: str) -> tuple[int, bytes]:
    """How many bytes a reader from the first one on is told are gone, and what it gets after them."""
    chunks = [chunk async for chunk in client.room.logs(container, 0, follow=False)]
    assert chunks[0].offset == chunks[0].gone
    assert not any(chunk.gone for chunk in chunks[1:])
    return chunks[0].gone, b"".join(chunk.data for chunk in chunks)


async def test_what_a_controller_holds_is_given_back_to_the_disk_while_the_container_writes_on(agent: Agents) -> None:
    async with agent() as client:
        script = f"{MANY}; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo the last"
        container = await client.run("sh", "-c", script)
        path = Path((await client.status(container)).log_path)
        async with asyncio.timeout(20):
            while b"line 3000 " not in path.read_bytes():
                await asyncio.sleep(0.02)
        whole, length, _ = await collect(client, container, 0, follow=False)
        kept = length - 5000

        await client.room.trim_log(container, kept)
        await client.exec(container, "touch", "/tmp/go")
        after, _, end = await collect(client, container, kept, follow=True)

        assert end
        assert after.startswith(whole[kept:])
        assert after.endswith(b" the last\n")
        assert space_of(path) < 20_000 < length
        # Who lost its copy is told, and gets whole lines.
        gone, left = await what_is_left(client, container)
        assert 0 < gone <= kept + 100
        assert left == (whole + after[length - kept :])[gone:]
        assert whole[gone - 1 : gone] == b"\n"


async def test_the_whole_log_given_back_leaves_a_word_of_it(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", MANY)
        await client.exited(container)
        whole, length, _ = await collect(client, container, 0, follow=True)
        await client.room.trim_log(container, length + 10)
        gone, left = await what_is_left(client, container)
        assert left == whole[gone:]
        assert length - gone < 8192
        assert await collect(client, container, length, follow=True) == (b"", length, True)


async def test_a_container_with_the_log_path_of_another_whose_log_was_given_back_has_no_zeros_in_its_own(
    agent: Agents,
) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        first = await client.create(sandbox, "sh", "-c", MANY)
        await client.start(first)
        await client.exited(first)
        _, length, _ = await collect(client, first, 0, follow=True)
        await client.room.trim_log(first, length)
        await call(client.stub.RemoveContainer, cri.RemoveContainerRequest(container_id=first), deadline=20)
        second = await client.create(sandbox, "echo", "mine")
        await client.start(second)
        await client.exited(second)
        _, left = await what_is_left(client, second)
        assert b"\0" not in left
        assert left.endswith(b" mine\n")


async def test_what_was_given_back_is_known_after_a_restart_of_the_agent(
    pulled: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_agent(*pulled, tmp_path) as client:
        container = await client.run("sh", "-c", f"{MANY}; sleep 100")
        path = Path((await client.status(container)).log_path)
        async with asyncio.timeout(20):
            while b"line 3000 " not in path.read_bytes():
                await asyncio.sleep(0.02)
        whole, length, _ = await collect(client, container, 0, follow=False)
        await client.room.trim_log(container, length // 2)
        monkeypatch.setattr(client, "tidy", _nothing)
    async with running_agent(*pulled, tmp_path) as client:
        gone, left = await what_is_left(client, container)
        assert gone
        assert left == whole[gone:]
        await client.room.trim_log(container, length // 3)  # an older word, late
        assert await what_is_left(client, container) == (gone, left)


async def _nothing() -> None: ...


async def test_a_log_on_a_disk_that_gives_nothing_back_stays_whole(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, inode: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(files, "give_back", refuse)
    async with agent() as client:
        container = await client.run("sh", "-c", MANY)
        await client.exited(container)
        whole = await collect(client, container, 0, follow=True)
        with pytest.raises(Fault) as told:
            await client.room.trim_log(container, whole[1])
        assert told.value.kind is Kind.UNSUPPORTED
        assert await collect(client, container, 0, follow=True) == whole


async def test_an_agent_alone_gives_nothing_back_whoever_asks(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", MANY)
        await client.exited(container)
        whole = await collect(client, container, 0, follow=True)
        request = wire.TrimLogRequest(container_id=container, offset=whole[1])
        # As every agent answers that does not know the call; the connection is not the worse for it.
        with pytest.raises(Fault):
            await call(cell_grpc.CellStub(client.channel).TrimLog, request, deadline=10)
        assert await collect(client, container, 0, follow=True) == whole
