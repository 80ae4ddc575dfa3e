"""Fuzz targets of the streaming room. FUZZ_SECONDS sets how long each runs; without it they only take a first look.

`fuzz_spdy` and `fuzz_websocket` take bytes and may be given to a coverage-guided fuzzer as they are.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from cellwire.stream import portforward, remotecommand, spdy, websocket

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0.3"))


def fuzz_spdy(data: bytes) -> None:
    """Bytes of a client, cut in two, through the decoder: events or Malformed, within the limits."""
    decoder = spdy.Decoder()
    middle = len(data) // 2
    passed = 0
    try:
        for chunk in (data[:middle], data[middle:]):
            for event in decoder.receive(chunk):
                if isinstance(event, spdy.Data):
                    passed += len(event.payload)
                elif isinstance(event, spdy.StreamOpened):
                    assert len(event.headers) <= 100
    except spdy.Malformed:
        pass
    assert passed <= len(data)


def fuzz_websocket(data: bytes) -> None:
    """One message through every channel protocol, and its payload through the readers behind them."""
    for protocol in websocket.SESSION_PROTOCOLS:
        try:
            said = websocket.decode(protocol, data)
        except spdy.Malformed:
            continue
        if isinstance(said, websocket.Bytes):
            remotecommand.WindowSizes().receive(bytes(said.payload))
    with suppress(portforward.BadStream):
        portforward.Pairing(30).opened(1, {"streamtype": "data", "port": data.decode("latin-1")}, 0)


def seed() -> bytes:
    encoder = spdy.Encoder()
    opened = b"".join(encoder.open(number, {"streamType": "data", "port": "80"}) for number in (1, 3, 5))
    return opened + spdy.data_header(1, 4) + b"abcd" + spdy.ping(1) + spdy.reset(3, spdy.Reset.CANCEL)


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(changed)) if changed else 0
        match chance.randrange(4):
            case 0 if changed:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case _:
                changed[at : at + 8] = struct.pack(">II", 0x80030000 | chance.randrange(12), chance.randrange(64))
    return bytes(changed)


@pytest.mark.parametrize(
    ("target", "start"),
    [(fuzz_spdy, seed()), (fuzz_websocket, b'\x04{"Width":80,"Height":24}'), (fuzz_websocket, b"0aGVsbG8=")],
)
@pytest.mark.timeout(SECONDS + 60)
def test_no_bytes_break_the_parser(target: Callable[[bytes], None], start: bytes) -> None:
    chance = random.Random(0)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for _ in range(100):
            target(mutated(start, chance))
