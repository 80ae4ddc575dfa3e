"""Exec, attach and port-forward over WebSocket, with sessions in memory and aiohttp as client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest

from cellwire.stream import conversation, streaming_server
from cellwire.stream.session import SessionRequest
from tests.support.sessions import BLOCK, MemoryBackend
from tests.support.spdy_client import exit_code

BINARY = ("", "channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io")
TEXT = ("base64.channel.k8s.io", "v4.base64.channel.k8s.io")
MIB = 1 << 20
GOODBYE = aiohttp.ClientWSTimeout(ws_close=0.5)  # pyright: ignore[reportCallIssue]  made by attrs
"""A server that is held does not answer it."""


@asynccontextmanager
async def socket(url: str, *protocols: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    offered = [protocol for protocol in protocols if protocol]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=offered, max_msg_size=0, timeout=GOODBYE) as opened,
    ):
        assert (opened.protocol or "") == (protocols[0] if protocols else "")
        yield opened


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def all_said(opened: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """Everything until the server closes, by channel."""
    said: dict[int, bytes] = {}
    async for message in opened:
        if message.type is aiohttp.WSMsgType.TEXT:
            channel, payload = int(message.data[0]), base64.b64decode(message.data[1:])
        else:
            channel, payload = message.data[0], message.data[1:]
        said[channel] = said.get(channel, b"") + payload
    return said


def encoded(protocol: str, channel: int, payload: bytes) -> str | bytes:
    if protocol in TEXT:
        return chr(ord("0") + channel) + base64.b64encode(payload).decode()
    return bytes([channel]) + payload


async def send(opened: aiohttp.ClientWebSocketResponse, message: str | bytes) -> None:
    if isinstance(message, str):
        await opened.send_str(message)
    else:
        await opened.send_bytes(message)


@pytest.mark.parametrize("protocol", BINARY + TEXT)
async def test_every_protocol_says_how_a_command_ended(protocol: str) -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        async with socket(streaming.exec_url(SessionRequest("c", ("complain", "7"))), protocol) as opened:
            said = await all_said(opened)
            assert (said[1], said[2]) == (b"", b"oh dear")
            if protocol.startswith(("v4", "v5")):
                assert exit_code(said[3]) == 7
            else:
                assert said[3] == b"command terminated with non-zero exit code: exit status 7"
        async with socket(streaming.exec_url(SessionRequest("c", ("echo", "hi"))), protocol) as opened:
            said = await all_said(opened)
            assert said[1] == b"hi"
            assert (3 in said) == protocol.startswith(("v4", "v5"))


@pytest.mark.parametrize("protocol", BINARY + TEXT)
async def test_input_and_window_sizes_arrive(protocol: str) -> None:
    backend = MemoryBackend()
    request = SessionRequest("c", ("cat",), stdin=True, tty=True, stderr=False)
    async with (
        streaming_server.running(backend) as streaming,
        socket(streaming.exec_url(request), protocol) as opened,
    ):
        await send(opened, encoded(protocol, 4, b'{"Width":80,"Height":24}'))
        await send(opened, encoded(protocol, 0, b"hello"))
        first = await opened.receive()
        assert len(first.data) == 1, "the first message is empty: it says that the session is there"
        message = await opened.receive()
        assert message.data == encoded(protocol, 1, b"hello")
        await until(lambda: backend.sessions[0].sizes == [(80, 24)])
    await until(lambda: backend.open == 0)


async def test_version_five_ends_the_input() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        socket(streaming.exec_url(SessionRequest("c", ("count",), stdin=True)), "v5.channel.k8s.io") as opened,
    ):
        for _ in range(50):
            await opened.send_bytes(b"\x00" + BLOCK)
        await opened.send_bytes(b"\xff\x00")
        said = await all_said(opened)
        assert said[1] == str(50 * len(BLOCK)).encode()
        assert exit_code(said[3]) == 0


async def test_protocols_that_nobody_speaks_are_refused() -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket(streaming.exec_url(SessionRequest("c", ("echo",))), "v9.channel.k8s.io"):
                pass
        assert refused.value.status == 403
        async with aiohttp.ClientSession() as session:
            plain = await session.get(streaming.exec_url(SessionRequest("c", ("echo",))))
            assert plain.status == 400
            assert "unable to upgrade" in await plain.text()


@pytest.mark.parametrize(
    ("protocol", "garbage", "reason"),
    [
        ("base64.channel.k8s.io", "0?", "a message that is not base64"),
        ("v5.channel.k8s.io", b"\xff\x00\x00", "a close message of 3 bytes"),
    ],
)
async def test_a_malformed_message_ends_that_session_with_a_reason_and_no_other(
    protocol: str, garbage: str | bytes, reason: str
) -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        socket(streaming.exec_url(SessionRequest("c", ("cat",), stdin=True)), "v5.channel.k8s.io") as well,
    ):
        async with socket(streaming.exec_url(SessionRequest("c", ("hang",), stdin=True)), protocol) as opened:
            await until(lambda: backend.open == 2)
            await send(opened, garbage)
            messages = [await opened.receive() for _ in range(2)]
            assert messages[1].type is aiohttp.WSMsgType.CLOSE
            assert (messages[1].data, messages[1].extra) == (1002, reason)
        await until(lambda: backend.open == 1)
        await well.send_bytes(b"\x00still here")
        await well.send_bytes(b"\xff\x00")
        assert (await all_said(well))[1] == b"still here"


async def test_a_hundred_megabytes_go_through_and_a_slow_reader_holds_the_command() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with socket(streaming.exec_url(SessionRequest("c", ("blocks", "1600"))), "v5.channel.k8s.io") as opened:
            came = hashlib.sha256()
            async for message in opened:
                if message.data[0] == 1:
                    came.update(memoryview(message.data)[1:])
            assert came.digest() == hashlib.sha256(BLOCK * 1600).digest()
        async with socket(streaming.exec_url(SessionRequest("c", ("blocks", "16000"))), "v5.channel.k8s.io") as opened:
            for _ in range(20):
                await asyncio.sleep(0.02)
                await opened.receive()
            assert backend.sessions[-1].said < 40 * MIB, "more than fits between the command and its reader"
            assert backend.open == 1


@pytest.mark.parametrize("message", [b"\x00" + BLOCK, b"\x00x", b""], ids=["large", "small", "empty"])
async def test_a_command_that_does_not_read_holds_its_client(message: bytes) -> None:
    backend = MemoryBackend()
    request = SessionRequest("c", ("hang",), stdin=True)
    async with (
        streaming_server.running(backend) as streaming,
        socket(streaming.exec_url(request), "v5.channel.k8s.io") as opened,
    ):
        for _ in range(2 * MIB // len(BLOCK)):  # until the inbox is full
            await opened.send_bytes(b"\x00" + BLOCK)
        sent = 0
        try:
            async with asyncio.timeout(1):
                while sent < 100 * MIB:
                    await opened.send_bytes(message)
                    sent += 8 + len(message)  # with the frame's own bytes
        except TimeoutError:
            pass
        assert sent < 40 * MIB
        assert backend.sessions[0].written < 2 * MIB


async def test_a_client_that_leaves_ends_its_session() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with socket(streaming.exec_url(SessionRequest("c", ("hang",))), "v4.channel.k8s.io"):
            await until(lambda: backend.open == 1)
        await until(lambda: backend.open == 0)


async def test_an_idle_session_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "WATCH", 0.05)
    monkeypatch.setattr(conversation, "IDLE", 0.2)
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        socket(streaming.exec_url(SessionRequest("c", ("hang",))), "v4.channel.k8s.io") as opened,
        asyncio.timeout(20),
    ):
        assert await all_said(opened) == {1: b""}


@pytest.mark.parametrize("protocol", ["", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_as_many_ports_are_forwarded_as_there_are_channels(protocol: str) -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        socket(streaming.port_forward_url("s", [7] * 40), protocol) as opened,
        asyncio.timeout(20),
    ):
        await send(opened, encoded(protocol, 78, b"last"))
        said: dict[int, bytes] = {}
        while not said.get(78, b"").endswith(b"last"):
            message = await opened.receive()
            text = isinstance(message.data, str)
            channel = ord(message.data[0]) - ord("0") if text else message.data[0]
            said[channel] = said.get(channel, b"") + (base64.b64decode(message.data[1:]) if text else message.data[1:])
        assert set(said) == set(range(80))


@pytest.mark.parametrize("protocol", ["", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_ports_are_forwarded_on_pairs_of_channels(protocol: str) -> None:
    sent = os.urandom(MIB)
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        socket(streaming.port_forward_url("s", [7, 1]), protocol) as opened,
        asyncio.timeout(20),
    ):
        await send(opened, encoded(protocol, 0, sent))
        said: dict[int, bytes] = {}
        while len(said.get(0, b"")) < 2 + len(sent) or b"refused" not in said.get(3, b""):
            message = await opened.receive()
            text = isinstance(message.data, str)
            channel = int(message.data[0]) if text else message.data[0]
            said[channel] = said.get(channel, b"") + (base64.b64decode(message.data[1:]) if text else message.data[1:])
        assert said[0] == b"\x07\x00" + sent
        assert said[1] == b"\x07\x00"
        assert said[2] == b"\x01\x00"
        assert said[3].startswith(b"\x01\x00error forwarding port 1 to pod: ")


@pytest.mark.parametrize(
    ("ports", "offered"),
    [([], ["v4.channel.k8s.io"]), ([7], ["v5.channel.k8s.io"]), ([7] * 41, ["v4.channel.k8s.io"])],
)
async def test_a_port_forward_that_cannot_be_is_refused(ports: Sequence[int], offered: Sequence[str]) -> None:
    async with streaming_server.running(MemoryBackend()) as streaming:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket(streaming.port_forward_url("s", ports), *offered):
                pass
        assert refused.value.status in {400, 403}


async def test_the_status_of_a_broken_session_names_thing_cause_and_mend() -> None:
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        socket(streaming.exec_url(SessionRequest("gone", ("cat",))), "v5.channel.k8s.io") as opened,
    ):
        status = json.loads((await all_said(opened))[3])
        assert (status["reason"], status["code"]) == ("InternalError", 500)
        assert status["details"]["causes"][0]["message"].endswith("container gone: there is none; list the containers")
