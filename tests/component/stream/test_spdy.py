"""Exec, attach and port-forward over SPDY/3.1, with sessions in memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from cellwire.faults import Fault, Kind
from cellwire.stream import conversation, streaming_server
from cellwire.stream.pipe import GRACE
from cellwire.stream.remotecommand import VERSIONS
from cellwire.stream.session import SessionRequest
from tests.support.sessions import BLOCK, MemoryBackend
from tests.support.spdy_client import UpgradeRefused, connected, exit_code
from tests.support.spdy_streams import FORWARD, MIB, OUTPUTS, command, fill, pair
from tests.support.waiting import until


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_says_how_a_command_ended(version: str) -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        async with connected(streaming.exec_url(command("complain", "137")), [version]) as client:
            assert client.version == version
            streams = await client.open_all(*OUTPUTS)
            assert await streams["stdout"].read_all() == b""
            assert await streams["stderr"].read_all() == b"oh dear"
            status = await streams["error"].read_all()
            if version == "v4.channel.k8s.io":
                assert exit_code(status) == 137
            else:
                assert status == b"command terminated with non-zero exit code: exit status 137"
        async with connected(streaming.exec_url(command("echo", "a", "b")), [version]) as client:
            streams = await client.open_all(*OUTPUTS)
            assert await streams["stdout"].read_all() == b"a b"
            status = await streams["error"].read_all()
            assert (json.loads(status)["status"] if status else "") == ("Success" if version == VERSIONS[0] else "")


async def test_version_five_is_never_answered_and_the_clients_order_counts() -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        offered = ("v5.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io")
        async with connected(streaming.exec_url(command("echo")), [", ".join(offered)]) as client:
            assert client.version == "v3.channel.k8s.io"
        with pytest.raises(UpgradeRefused) as refused:
            async with connected(streaming.exec_url(command("echo")), offered[:1]):
                pass
        assert refused.value.status == 403
        with pytest.raises(UpgradeRefused) as refused:
            async with connected(streaming.exec_url(command("echo")), ()):
                pass
        assert refused.value.status == 400


async def test_a_url_is_good_once_by_get_or_post() -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        url = streaming.exec_url(command("echo", "hi"))
        async with connected(url, method="GET") as client:
            streams = await client.open_all(*OUTPUTS)
            assert await streams["stdout"].read_all() == b"hi"
        for again in (url, f"{streaming.base}/exec/12345678", streaming.exec_url(command("echo")).replace("exec", "x")):
            with pytest.raises(UpgradeRefused) as refused:
                async with connected(again):
                    pass
            assert refused.value.status == 404


async def test_a_request_that_no_session_can_be_is_refused() -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        bad = [
            SessionRequest("", ("a",)),
            SessionRequest("c", ("a",), tty=True),
            SessionRequest("c", ("a",), stdout=False, stderr=False),
            SessionRequest("c"),
        ]
        for request in bad:
            with pytest.raises(Fault) as raised:
                streaming.exec_url(request)
            assert raised.value.kind is Kind.INVALID


async def test_half_close_ends_the_input_and_not_the_output() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.exec_url(command("count", stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        await streams["stdin"].write(b"12345")
        await streams["stdin"].finish()
        assert await streams["stdout"].read_all() == b"5"
        assert exit_code(await streams["error"].read_all()) == 0


async def test_streams_that_were_not_asked_for_are_read_over() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.exec_url(command("echo", "hi"))) as client,
    ):
        streams = await client.open_all("stdin", "error", "stdout", "stderr", "resize", "later")
        assert all(stream.reset is None for stream in streams.values())
        assert await streams["stdout"].read_all() == b"hi"
        assert exit_code(await streams["error"].read_all()) == 0


async def test_attach_does_not_tell_the_exit_code() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.attach_url(SessionRequest("c", stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        await streams["stdin"].write(b"ahoy", fin=True)
        assert await streams["stdout"].read_all() == b"ahoy"
        assert exit_code(await streams["error"].read_all()) == 0


async def test_a_terminal_is_resized() -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        request = SessionRequest("c", ("size",), tty=True, stderr=False)
        async with connected(streaming.exec_url(request)) as client:
            streams = await client.open_all("error", "stdout", "resize")
            await streams["resize"].write(b'{"Width":80,"Hei')
            await streams["resize"].write(b'ght":24}\n{"Width":132,"Height":50}\n')
            assert await streams["stdout"].read_all() in {b"(132, 50)", b"(80, 24)"}


async def test_pings_are_answered() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.exec_url(command("hang"))) as client,
    ):
        await client.open_all(*OUTPUTS)
        await client.ping(3)
        async with asyncio.timeout(20):
            assert await client.pongs.get() == 3


async def test_a_client_that_leaves_ends_its_session() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.exec_url(command("hang"))) as client:
            await client.open_all(*OUTPUTS)
            await until(lambda: backend.open == 1)
        await until(lambda: backend.open == 0)


async def test_a_client_that_leaves_is_noticed_while_its_input_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "WATCH", 0.05)
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(command("hang", stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        assert await fill(streams["stdin"]) < 20 * MIB
        assert backend.open == 1
        client.vanish()
        await until(lambda: backend.open == 0)


async def test_a_session_without_a_byte_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "WATCH", 0.05)
    monkeypatch.setattr(conversation, "IDLE", 0.3)
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.exec_url(command("hang"))) as client:
            await client.open_all(*OUTPUTS)
            async with asyncio.timeout(20):
                await client.closed.wait()
        await until(lambda: backend.open == 0)


async def test_streams_that_do_not_come_end_the_session_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellwire.stream.spdy_session.CREATION", 0.2)
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming, connected(streaming.exec_url(command("hang"))) as client:
        errors = await client.open({"streamType": "error"})
        status = json.loads(await errors.read_all())
        assert "did not open its streams (stderr, stdout)" in status["message"]
        assert backend.sessions == []


@pytest.mark.parametrize(
    "garbage", [b"\x80\x02\x00\x01\x00\x00\x00\x0a" + bytes(10), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64]
)
async def test_a_malformed_frame_ends_that_session_and_no_other(garbage: bytes) -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(command("cat", stdin=True))) as well,
    ):
        healthy = await well.open_all("error", "stdin", "stdout", "stderr")
        async with connected(streaming.exec_url(command("hang"))) as client:
            await client.open_all(*OUTPUTS)
            await client.send(garbage)
            async with asyncio.timeout(20):
                await client.closed.wait()
            assert client.went_away == 1
        await until(lambda: backend.open == 1)
        await healthy["stdin"].write(b"still here", fin=True)
        assert await healthy["stdout"].read_all() == b"still here"


async def test_a_client_may_take_its_time_to_fetch_the_end() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.exec_url(command("blocks", "200")), limit=64 * 1024) as client,
    ):
        streams = await client.open_all(*OUTPUTS)
        await asyncio.sleep(GRACE + 1)
        assert len(await streams["stdout"].read_all()) == 200 * len(BLOCK)
        assert exit_code(await streams["error"].read_all()) == 0


async def test_a_fault_of_ours_ends_what_it_concerns_with_words() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.exec_url(command("break", "badly"))) as client:
            streams = await client.open_all(*OUTPUTS)
            assert "internal error" in json.loads(await streams["error"].read_all())["message"]
        async with connected(streaming.port_forward_url("s", []), FORWARD) as client:
            data, error = await pair(client, 2, 0)
            assert b"internal error" in await error.read_all()
            assert await data.read_all() == b""
            data, error = await pair(client, 7, 1)
            await data.write(b"x", fin=True)
            assert await data.read_all() == b"x"
        await until(lambda: backend.open == 0)


async def test_a_server_that_stops_ends_its_sessions() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        stack = connected(streaming.exec_url(command("hang")))
        client = await stack.__aenter__()
        await client.open_all(*OUTPUTS)
        await until(lambda: backend.open == 1)
    assert backend.open == 0
    await stack.__aexit__(None, None, None)
