"""Connections share what they are read into: what has to wait is kept elsewhere. What one holds goes with it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from unittest.mock import Mock

from hyperframe.frame import PingFrame, SettingsFrame

from cellwire.rpc.grpclib_patches import MendedServer, ServerConnection
from cellwire.rpc.limited_protocol import TURN
from cellwire.rpc.limits import FROM_CELL
from cellwire.rpc.read_buffer import BufferedReading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PINGS = 2 * TURN + 1


def told(reading: BufferedReading, data: bytes) -> None:
    into = reading.get_buffer(-1)
    into[: len(data)] = data
    reading.buffer_updated(len(data))
    into[: len(data)] = b"\xff" * len(data)


async def test_frames_beyond_one_turn_are_taken_in_later_as_they_came() -> None:
    served = MendedServer([], FROM_CELL, details=True).protocol(lambda _: None)
    sent, answered = bytearray(), asyncio.Event()
    last = PingFrame(0, PINGS.to_bytes(8), flags=["ACK"]).serialize()

    def write(data: bytes) -> None:
        sent.extend(data)
        if last in sent:
            answered.set()

    transport = Mock(write=write, get_extra_info=Mock(return_value=None), get_write_buffer_size=Mock(return_value=0))
    reading = BufferedReading(served)
    reading.connection_made(transport)
    pings = [PingFrame(0, number.to_bytes(8)).serialize() for number in range(1, PINGS + 1)]
    told(reading, PREFACE + SettingsFrame(0).serialize() + b"".join(pings[:-1]))
    assert transport.pause_reading.called
    told(reading, pings[-1])  # read before the pause
    async with asyncio.timeout(30):
        await answered.wait()
    answers = (PingFrame(0, number.to_bytes(8), flags=["ACK"]).serialize() for number in range(1, PINGS + 1))
    assert all(sent.count(answer) == 1 for answer in answers)
    assert transport.resume_reading.called
    reading.connection_lost(None)


async def test_a_connection_that_has_ended_waits_for_no_collection_of_garbage(tmp_path: Path) -> None:
    server, held = MendedServer([], FROM_CELL, details=True), list[weakref.ref[ServerConnection]]()

    def made() -> ServerConnection:
        served = server.protocol(lambda _: None)
        held.append(weakref.ref(served))
        return served

    gc.disable()
    try:
        async with asyncio.timeout(30), await asyncio.get_running_loop().create_unix_server(made, tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(PREFACE + SettingsFrame(0).serialize())
            await reader.readexactly(9)
            writer.close()
            while held[0]() is not None:
                await asyncio.sleep(0)
    finally:
        gc.enable()
