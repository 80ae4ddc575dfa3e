"""What is relied on inside grpclib, and the limits.

When a test here fails after an upgrade, read rpc/grpclib_patches.py.
"""

import asyncio
import inspect
import resource
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import grpclib.client
import grpclib.protocol
import grpclib.server
import grpclib.stream
import grpclib.utils
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.frame_buffer import FrameBuffer
from h2.stream import H2Stream
from hyperframe.frame import DataFrame, Frame, SettingsFrame, WindowUpdateFrame

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel, MendedServer
from cellwire.rpc.limits import CELL, FROM_CELL, STRANGER
from cellwire.rpc.serve import prepared


def test_grpclib_is_inside_as_we_know_it() -> None:
    assert "hasattr(self, '_transport')" in inspect.getsource(grpclib.protocol.Connection.is_closing)
    assert "self._wrapper = Wrapper()" in inspect.getsource(grpclib.client.Stream.__aenter__)
    assert "self.connection.create_stream(" in inspect.getsource(grpclib.protocol.EventsProcessor)
    assert "create_stream(wrapper=self._wrapper)" in inspect.getsource(grpclib.client.Stream.send_request)
    assert "await stream.recv_data(message_len)" in inspect.getsource(grpclib.stream.recv_message)
    made = inspect.getsource(grpclib.protocol.H2Protocol.connection_made)
    assert "self.connection = Connection(" in made, "LimitedProtocol does as it does, with fewer frames"
    assert "self.processor = EventsProcessor(self.handler, self.connection)" in made
    assert "method = mapping.get(method_name)" in inspect.getsource(grpclib.server.request_handler)
    assert "self._mapping = mapping" in inspect.getsource(grpclib.server.Server.__init__)
    message = inspect.getsource(grpclib.stream.send_message)
    assert "+ reply_bin)" in message, "Octets put what is before them into their first part"
    assert "await stream.send_data(reply_data, end_stream=end)" in message
    headers = inspect.getsource(grpclib.protocol.Stream.send_headers)
    assert "self._transport.write(self._h2_connection.data_to_send())" in headers, "LimitedStream writes it later"
    assert "_channel.__connect__()" in inspect.getsource(grpclib.client.Stream.send_request)
    for holder, member in (
        (grpclib.client.Channel, "_protocol_factory"),
        (grpclib.client.Channel, "_connected"),
        (grpclib.server.Server, "_protocol_factory"),
        (grpclib.utils.Wrapper, "_error"),
        (grpclib.protocol, "_set_nodelay"),
    ):
        assert hasattr(holder, member), f"{holder.__name__}.{member} is gone"


def test_h2_is_inside_as_we_know_it() -> None:
    """What `data_frames` relies on."""
    sending = inspect.getsource(H2Connection.send_data)
    assert "self.streams[stream_id].send_data(" in sending
    assert "self._prepare_for_sending(frames)" in sending
    assert "df.data = data" in inspect.getsource(H2Stream.send_data)
    assert "self.incoming_buffer.add_data(data)" in inspect.getsource(H2Connection.receive_data)
    assert "for frame in self.incoming_buffer:" in inspect.getsource(H2Connection.receive_data)
    assert "self._handle_data_on_closed_stream(events, e, frame)" in inspect.getsource(H2Connection._receive_data_frame)
    buffer = vars(FrameBuffer(server=True))
    assert buffer.keys() == {"_data", "max_frame_size", "_preamble", "_preamble_len", "_headers_buffer"}


@pytest.fixture
async def socket(tmp_path: Path, told: Any) -> AsyncIterator[str]:
    server = prepared([told], details=True, limits=STRANGER)
    path = str(tmp_path / "s")
    await server.start(path=path)
    yield path
    server.close()
    await server.wait_closed()


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


async def test_a_prefix_of_280_mib_is_refused_without_growth(socket: str) -> None:
    before = resident_kib()
    reader, writer = await asyncio.open_unix_connection(socket)
    peer = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    peer.initiate_connection()
    headers = [
        (":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/chinampa.cell.v1.Cell/ReadFile"),
        ("te", "trailers"), ("content-type", "application/grpc"),
    ]  # fmt: skip
    peer.send_headers(1, headers)
    peer.send_data(1, b"\0" + struct.pack(">I", 280 << 20))
    sent, answered = 0, b""
    writer.write(peer.data_to_send())
    while not answered and sent < 280 << 20:
        size = min(peer.local_flow_control_window(1), 16 << 10)
        if size:
            peer.send_data(1, b"x" * size)
            sent += size
            writer.write(peer.data_to_send())
            await writer.drain()
        async with asyncio.timeout(20):
            for event in peer.receive_data(await reader.read(1 << 16)):
                answered = dict(getattr(event, "headers", None) or ()).get("grpc-status", answered)
        writer.write(peer.data_to_send())
    writer.close()
    assert answered == "8"
    assert sent < 1 << 20
    assert resident_kib() - before < 8 << 10


async def test_a_reply_above_the_limit_ends_that_call_and_no_other(tmp_path: Path, told: Any) -> None:
    async def large(stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(wire.ReadFileReply(data=b"x" * request.limit))

    told.unary = large
    server = prepared([told], details=True, limits=CELL)
    await server.start(path=str(tmp_path / "big"))
    async with MendedChannel(CELL, path=str(tmp_path / "big")) as channel:
        stub = cell_grpc.CellStub(channel)
        whole = await call(stub.ReadFile, wire.ReadFileRequest(limit=20 << 20), deadline=20)
        assert len(whole.data) == 20 << 20
        with pytest.raises(Fault) as told_of:
            await call(stub.ReadFile, wire.ReadFileRequest(limit=40 << 20), deadline=20)
        assert told_of.value.kind is Kind.NO_CAPACITY
        assert "above the limit" in str(told_of.value)
        assert (await call(stub.ReadFile, wire.ReadFileRequest(limit=10), deadline=5)).data == b"x" * 10
    server.close()
    await server.wait_closed()


async def test_two_hundred_calls_at_once_beside_readers_that_do_not_read(tmp_path: Path, told: Any) -> None:
    sent = 0

    async def flood(stream: Any) -> None:
        nonlocal sent
        await stream.recv_message()
        while True:
            await stream.send_message(wire.LogChunk(data=b"x" * (64 << 10)))
            sent += 64 << 10

    told.stream = flood
    server = prepared([told], details=True)
    await server.start(path=str(tmp_path / "many"))
    async with MendedChannel(CELL, path=str(tmp_path / "many")) as channel:
        stub = cell_grpc.CellStub(channel)
        async with stub.Logs.open() as stuck:
            await stuck.send_message(wire.LogsRequest(), end=True)
            await stuck.recv_message()
            while sent < CELL.stream_window - (128 << 10):
                await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(call(stub.ReadFile, wire.ReadFileRequest(path=str(n)), deadline=280))
                    for n in range(200)
                ]
            assert {task.result().data for task in asked} == {str(n).encode() for n in range(200)}
            await stuck.cancel()
    server.close()
    await server.wait_closed()


async def test_a_connection_that_ends_as_it_is_made_is_told_of_as_lost() -> None:
    channel = MendedChannel(CELL, path="s")

    async def dialled() -> Any:
        protocol = channel._protocol_factory()
        protocol.connection_made(Mock(spec=asyncio.Transport))
        protocol.processor.close("as a peer that goes away")
        return protocol

    channel._create_connection = dialled
    with pytest.raises(Fault) as told:
        await call(cell_grpc.CellStub(channel).DiskUsage, wire.DiskUsageRequest(), deadline=20)
    assert told.value.kind is Kind.UNREACHABLE
    channel.close()


async def test_limits_are_announced_in_one_frame_of_settings_and_hold() -> None:
    served = MendedServer([], FROM_CELL, details=True).protocol(lambda _: None)
    sent = bytearray()
    transport = Mock(write=sent.extend, get_extra_info=Mock(return_value=None))
    served.connection_made(transport)

    frames = []
    while sent:
        frame, length = Frame.parse_frame_header(memoryview(bytes(sent[:9])))
        frame.parse_body(memoryview(bytes(sent[9 : 9 + length])))
        frames.append(frame)
        del sent[: 9 + length]
    settings, window = frames
    assert isinstance(settings, SettingsFrame)
    assert isinstance(window, WindowUpdateFrame)
    assert settings.settings[SettingsFrame.INITIAL_WINDOW_SIZE] == FROM_CELL.stream_window
    assert settings.settings[SettingsFrame.MAX_FRAME_SIZE] == FROM_CELL.frame_bytes
    assert settings.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == FROM_CELL.streams
    assert window.window_increment + 65_535 == FROM_CELL.connection_window
    # In force before the peer has acknowledged them: a frame that comes with its first words may be as long.
    assert served.connection._connection.max_inbound_frame_size == FROM_CELL.frame_bytes


def test_received_data_is_not_written_out_for_a_logger_that_is_not_there() -> None:
    assert repr(DataFrame(1, b"secret")).endswith("6 bytes")
