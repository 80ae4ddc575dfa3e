"""What is fuzzed: everything that reads what a hostile peer, registry or user may send.

A target takes bytes and returns; any exception is a finding. It may be given to any fuzzer as it is.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from cellagent.images import credentials, manifest, reference
from cellagent.images.messages import Unpacked, UnpackRequest
from cellagent.images.pipe_frames import MessageFrames, encoded
from cellagent.images.tarstream import ByteSource, TarReader
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform
from cellwire.stream import portforward, remotecommand, spdy, websocket
from cellwire.stream.conversation import converse, while_connected
from cellwire.stream.session import SessionRequest
from cellwire.stream.spdy_link import SpdyLink
from cellwire.stream.spdy_session import SpdyClient, SpdyLine, serve_forward
from tests.support.oci import LayerEntry, config_of, folder, layer, manifest_of, symlink, tar
from tests.support.sessions import MemoryBackend

LATEST = 10.0
"""Seconds in which a connection whose client has gone must be over."""
PLATFORM = Platform("linux", "amd64", "")


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under attack, and good inputs to begin with."""

    attack: Callable[[bytes], None]
    seeds: Sequence[bytes]


def spdy_frames(data: bytes) -> None:
    """Frames of a client, cut in two: events or Malformed, within the limits."""
    decoder = spdy.Decoder()
    middle = len(data) // 2
    passed = 0
    with suppress(spdy.Malformed):
        for chunk in (data[:middle], data[middle:]):
            for event in decoder.receive(chunk):
                if isinstance(event, spdy.Data):
                    passed += len(event.payload)
                elif isinstance(event, spdy.StreamOpened | spdy.Replied | spdy.MoreHeaders):
                    assert len(event.headers) <= spdy.SpdyLimits().headers
    assert passed <= len(data)


def websocket_messages(data: bytes) -> None:
    """One message in every channel protocol, and its payload in the readers behind them."""
    for protocol in websocket.SESSION_PROTOCOLS:
        for message in (data, data.decode("utf-8", "replace")):
            try:
                said = websocket.decode(protocol, message)
            except spdy.Malformed:
                continue
            if isinstance(said, websocket.Bytes):
                assert 0 <= said.channel < 256
                remotecommand.WindowSizes().receive(bytes(said.payload))
    with suppress(portforward.BadStream):
        portforward.Pairing(30).opened(1, {"streamtype": "data", "port": data.decode("latin-1")}, 0)


class _Pipe:
    """A client that has sent these bytes and then gone; it reads whatever it is sent."""

    def __init__(self, data: bytes) -> None:
        middle = len(data) // 2
        self._chunks = [data[middle:], data[:middle]]

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        while self._chunks:
            if chunk := self._chunks.pop():
                return chunk
        return b""

    async def write(self, *parts: bytes | memoryview, urgent: bool = False) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Nobody is there."""

    def abort(self) -> None:
        """Nobody is there."""

    def hung_up(self) -> bool:
        return False


def spdy_session(data: bytes) -> None:
    """A whole exec session, and a port-forward, on a connection that carries these bytes: both end, nothing is left."""
    backend = MemoryBackend()
    wanted = SessionRequest("c", ("count",), tty=False, stdin=True)

    async def serve() -> None:
        async with asyncio.timeout(LATEST):
            link = SpdyLink(_Pipe(data))
            client = SpdyClient(link, wanted, remotecommand.VERSIONS[0])
            await while_connected(SpdyLine(link), converse(client, lambda: backend.exec(wanted), attach=False))
            await serve_forward(SpdyLink(_Pipe(data)), lambda port: backend.port_forward("s", port))
        assert backend.open == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(serve())


def references(data: bytes) -> None:
    """An image's name as a user writes it: what is understood is printed so that it is understood alike."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = reference.parse(text)
    except Fault as fault:
        assert fault.kind is Kind.INVALID
        return
    assert reference.parse(str(found)) == found


def manifests(data: bytes) -> None:
    """A registry's answers: indexes, manifests, configurations, challenges."""
    credentials.challenges_of(data.decode("latin-1"))
    for read in (
        lambda: manifest.is_index(data, "", "x"),
        lambda: manifest.choices(data, PLATFORM, "x"),
        lambda: manifest.decode_manifest(data, "x"),
        lambda: manifest.decode_config(data, "x"),
    ):
        with suppress(Fault):
            read()


def archives(data: bytes) -> None:
    """A layer, its checksums mended so that more than the checksum is reached."""
    content = _with_checksums(data)
    for step in (700, 512):
        pieces = iter([content[at : at + step] for at in range(0, len(content), step)])
        reader = TarReader(ByteSource(lambda pieces=pieces: next(pieces, b"")))
        with suppress(Fault):
            for entry in reader:
                assert sum(len(span) for span in reader.content()) == entry.size
                if entry.pieces is not None:
                    assert sum(length for _, length in entry.pieces) == entry.size
                    assert all(offset + length <= entry.whole for offset, length in entry.pieces)


def frames_of_children(data: bytes) -> None:
    """What a child that a layer has taken over writes to its parent."""
    for kind in (Unpacked, UnpackRequest):
        with suppress(msgspec.DecodeError):
            for message in MessageFrames(kind, largest=1 << 16).feed(data):
                assert isinstance(message, kind)


def _with_checksums(data: bytes) -> bytes:
    content = bytearray(data)
    for at in range(0, len(content) - 511, 512):
        if bytes(content[at + 257 : at + 262]) == b"ustar":
            total = sum(content[at : at + 148]) + sum(content[at + 156 : at + 512]) + 256
            content[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(content)


def _frames() -> bytes:
    encoder = spdy.Encoder()
    opened = b"".join(encoder.open(number, {"streamType": "data", "port": "80"}) for number in (1, 3, 5))
    return opened + spdy.data_header(1, 4) + b"abcd" + spdy.ping(1) + spdy.reset(3, spdy.Reset.CANCEL)


def _session() -> bytes:
    encoder = spdy.Encoder()
    names = ("error", "stdin", "stdout", "stderr", "resize")
    opened = b"".join(encoder.open(2 * index + 1, {"streamType": name}) for index, name in enumerate(names))
    size = b'{"Width":80,"Height":24}'
    said = spdy.data_header(9, len(size)) + size + spdy.data_header(3, 5, fin=True) + b"hello"
    return opened + said + spdy.ping(1) + spdy.going_away(0)


def _forward() -> bytes:
    encoder, sent = spdy.Encoder(), b""
    for number, port in ((1, "7"), (5, "9"), (9, "1"), (13, "17")):
        headers = {"port": port, "requestID": str(number)}
        sent += encoder.open(number, {"streamType": "error", **headers}, fin=True)
        sent += encoder.open(number + 2, {"streamType": "data", **headers})
        sent += spdy.data_header(number + 2, 3) + b"abc" + spdy.data_header(number + 2, 0, fin=True)
    return sent + spdy.reset(3, spdy.Reset.CANCEL)


def _archive() -> bytes:
    return tar(
        {
            "a": b"hello",
            "ü" * 90: b"x" * 600,
            "d": folder(),
            "l": symlink("a" * 120),
            "x": LayerEntry(content=b"1", xattrs={"user.k": "v"}, uid=3_000_000_000, mtime=1.5),
        }
    )


def _sparse(lines: bytes, **records: str) -> bytes:
    info = tarfile.TarInfo("x")
    content = (lines + bytes(-len(lines) % 512) if lines else b"") + b"abc"
    info.size = len(content)
    sizes = {"size": "9", "realsize": "9", **records}
    info.pax_headers = {f"GNU.sparse.{key}": text for key, text in sizes.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


_LAYER = layer({"a": b"1"})
_INDEX = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:'
    + b"0" * 64
    + b'","size":5,"platform":{"os":"linux","architecture":"amd64","variant":"v3"}}]}'
)
TARGETS = {
    "spdy": Target(spdy_frames, (_frames(), _session())),
    "websocket": Target(websocket_messages, (b'\x04{"Width":80,"Height":24}', b"0aGVsbG8=", b"\xff\x00")),
    "session": Target(spdy_session, (_session(), _forward())),
    "reference": Target(
        references, (b"registry.example:5000/a/b_c/d-e:tag@sha256:" + b"0" * 64, b"nginx:1", b"[::1]:5000/a:1")
    ),
    "manifest": Target(
        manifests,
        (
            manifest_of([_LAYER], config_of([_LAYER])),
            config_of([_LAYER]),
            _INDEX,
            b'Bearer realm="https://x/y",service="s",scope="repository:a:pull"',
        ),
    ),
    "tar": Target(archives, (_archive(), _sparse(b"1\n0\n3\n", major="1", minor="0"), _sparse(b"", map="0,3"))),
    "frames": Target(
        frames_of_children,
        (
            encoded(Unpacked(size=1, unpacked=2, entries=3, taken=4, implicit=[b"a"], whiteouts=[b"b"])),
            encoded(UnpackRequest(folder="/x", digest="sha256:0", diff_id="sha256:0")),
        ),
    ),
}
