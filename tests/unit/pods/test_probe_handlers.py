"""What a pod answers to a probe: taken in a little at a time, so that no pod holds up another, and told in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import pytest
from hyperframe.frame import HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.objects.schema.containers import Probe
from controller.pods import probe_handlers
from controller.pods.probe_handlers import LONGEST_HEALTH, SHOWN, STEP, Asked, answered
from tests.support.typed_pods import container_of, probe_of

GRPC = probe_of({"grpc": {"port": 5000}})
ASKED = Asked(container_of({"name": "main"}), "c", "s")


class Pod:
    """A cell with a pod that answers so, whatever it is asked."""

    def __init__(self, *answers: bytes, printed: bytes = b"") -> None:
        self._answers = answers
        self._printed = printed
        self.sent = b""

    async def connect(self) -> None:
        """No channel is needed."""

    async def exec_sync(self, asked: cri.ExecSyncRequest, deadline: float) -> cri.ExecSyncResponse:
        del asked, deadline
        return cri.ExecSyncResponse(stdout=self._printed, exit_code=1)

    @asynccontextmanager
    async def port_forward(self, sandbox: str, port: int) -> AsyncGenerator[Pod]:
        del sandbox, port
        yield self

    async def write(self, data: bytes) -> None:
        self.sent += data

    async def received(self) -> AsyncIterator[bytes]:
        for one in self._answers:
            yield one


@pytest.fixture(autouse=True)
def tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_handlers, "RemoteBackend", lambda channel: _POD[0])


_POD: list[Any] = []


async def said(pod: Pod, handler: Probe) -> str:
    _POD[:] = [pod]
    return await answered(pod, handler, ASKED, 30)  # type: ignore[arg-type]


def serving(status: int = 1) -> bytes:
    """All bytes of a health service that answers the first call."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.send_data(1, bytes([0, 0, 0, 0, 2, 8, status]))
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    return server.data_to_send()


@pytest.mark.parametrize("cut", [1, 7, 100, 100_000])
async def test_a_health_service_is_understood_however_its_bytes_are_cut(cut: int) -> None:
    for status, healthy in ((1, True), (2, False)):
        answer = serving(status)
        pod = Pod(*(answer[at : at + cut] for at in range(0, len(answer), cut)))
        assert (await said(pod, GRPC) == "") == healthy


async def test_a_server_of_something_else_is_unhealthy() -> None:
    assert "without an answer" in await said(Pod(b"HTTP/1.1 400 Bad Request\r\n\r\n"), GRPC)


@pytest.mark.parametrize(
    "answer",
    [
        SettingsFrame(0).serialize() + HeadersFrame(1, b"\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize(),
        SettingsFrame(0).serialize() + HeadersFrame(1, b"\x00\x02:\xff\x01\xff", flags=["END_HEADERS"]).serialize(),
        SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 1}).serialize(),
    ],
)
async def test_what_is_no_grpc_is_unhealthy_in_words(answer: bytes) -> None:
    assert await said(Pod(answer), GRPC) == "the answer is not gRPC"


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000}),
        WindowUpdateFrame(0, window_increment=1),
    ],
    ids=["pings", "settings", "windows"],
)
async def test_a_flood_of_frames_is_cut_off_and_others_have_their_turns(frame: Any) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    flood = SettingsFrame(0).serialize() + frame.serialize() * 60_000
    async with asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(others())
        assert "too long" in await said(Pod(flood, flood), GRPC)
        beside.cancel()
    assert turns >= LONGEST_HEALTH // STEP


async def test_of_all_that_a_command_prints_its_beginning_is_shown() -> None:
    shown = await said(Pod(printed=b"\xff" * (16 << 20)), probe_of({"exec": {"command": ["x"]}}))
    assert shown == "\ufffd" * SHOWN
