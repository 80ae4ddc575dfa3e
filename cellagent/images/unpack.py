"""The processes that unpack layers: `python -m cellagent.images.unpack`, one for a pull, which forks one for a layer.

The first never sees a layer: it has loaded all that is needed, and waits on stdin (a socket) for requests, each with a
connection of its own. What it forks locks itself into the layer's folder before it looks at the first byte. Compressed
bytes come on the connection as they arrive from the registry; what came and what it unpacked to are hashed on the way,
and the answer is one frame back. So a layer costs a fork, and no two layers ever share a process.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import lzma
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import IO, NoReturn, cast

import zstandard
from isal import igzip_lib

from cellagent.images import pipe_frames, tarstream
from cellagent.images.extract import Extractor
from cellagent.images.messages import Failure, Unpacked, UnpackRequest
from cellwire.faults import Fault, Kind
from hostkit import syscalls

READ = 256 << 10
REQUEST_LIMIT = 64 << 10
CHUNK = 512 << 10
# Of one image, counted one by one; those of an image that has more share numbers.
MOST_LAYERS = 256
ZSTD_WINDOW_LIMIT = 128 << 20
# What xz's strongest preset needs, and a little.
XZ_MEMORY_LIMIT = 96 << 20
FOREIGN = {
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress (LZW)",
    b"LZIP": "lzip",
    b"\x89LZO": "lzop",
    b"\x5d\x00\x00": "lzma",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7-Zip",
}
_GZIP_ERROR = cast("type[Exception]", igzip_lib.error)  # the stubs call it an instance


class Hashed:
    """A layer's connection, hashed and counted as it is read; a file object to the decompressors."""

    def __init__(self, descriptor: int, digest: str) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.new(digest.partition(":")[0])
        self._peeked = b""
        self.size = 0

    def peek(self) -> bytes:
        """The first bytes, which the next `read` returns again."""
        while len(self._peeked) < 4 and (more := os.read(self._descriptor, READ)):
            self._peeked += more
        return self._peeked

    def read(self, size: int = READ) -> bytes:
        """What there is, at most about `size` bytes; b"" at the end."""
        data, self._peeked = self._peeked, b""
        data = data or os.read(self._descriptor, max(size, READ))
        self._hash.update(data)
        self.size += len(data)
        return data

    def digest(self) -> str:
        """The digest of all that was read."""
        return f"{self._hash.name}:{self._hash.hexdigest()}"


def chunks_of(stdin: Hashed) -> Callable[[], bytes]:
    """A function that returns the next unpacked chunk of `stdin`, by the kind that its first bytes tell."""
    magic = stdin.peek()[:4]
    if magic[:2] == b"\x1f\x8b":
        return _gunzip(stdin)
    if magic == b"\x28\xb5\x2f\xfd" or (magic[1:] == b"\x2a\x4d\x18" and magic[:1] in bytes(range(0x50, 0x60))):
        reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT).stream_reader(
            cast("IO[bytes]", stdin), read_size=READ, read_across_frames=True
        )
        return lambda: reader.read(CHUNK)
    if magic == b"\xfd7zX":
        return _unxz(stdin)
    for start, name in FOREIGN.items():
        if magic.startswith(start):
            raise Fault(
                Kind.UNSUPPORTED, "layer", f"it is compressed with {name}", "build it with gzip, zstd, xz or none"
            )
    return stdin.read


def _unxz(stdin: Hashed) -> Callable[[], bytes]:
    state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT)

    def more() -> bytes:
        nonlocal state
        while True:
            if state.eof:
                # Streams may follow one another, with zeros between and after them.
                rest = (state.unused_data or stdin.read()).lstrip(b"\0")
                if not rest and not (rest := stdin.read().lstrip(b"\0")):
                    return _drained(stdin)
                state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT)
            else:
                rest = stdin.read() if state.needs_input else b""
                if state.needs_input and not rest:
                    raise tarstream.broken("its xz stream ends too early")
            data = state.decompress(rest, CHUNK)
            if data:
                return data

    return more


def _gunzip(stdin: Hashed) -> Callable[[], bytes]:
    state = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    def more() -> bytes:
        nonlocal state
        while True:
            if state.eof:
                # Another member may follow; builders that compress in parallel write many. Zeros are padding.
                rest = state.unused_data or stdin.read()
                if not rest.strip(b"\0"):
                    return _drained(stdin)
                state = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            else:
                rest = stdin.read() if state.needs_input else b""
                if state.needs_input and not rest:
                    raise tarstream.broken("its gzip stream ends too early")
            data = state.decompress(rest, CHUNK)
            if data:
                return data

    return more


def _drained(stdin: Hashed) -> bytes:
    while stdin.read():
        pass
    return b""


def lock_into(folder: str) -> None:
    """Make `folder` this process's root for good, and import nothing from there ever after."""
    # Codecs and the like load lazily; inside, the layer's own files would be found in their place.
    for name in ("encodings.idna", "encodings.latin_1", "encodings.utf_8", "shutil", "traceback"):
        importlib.import_module(name)
    os.chdir(folder)
    os.chroot(".")
    syscalls.forgo_capability(syscalls.CAP_SYS_CHROOT)  # it is the way out again
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_hooks.clear()


class Room:
    """What the layers of one pull have written, in memory that their processes share: each has a number of its own."""

    def __init__(self) -> None:
        self._written = memoryview(mmap.mmap(-1, 8 * MOST_LAYERS)).cast("Q")

    def spender(self, number: int, room: int) -> Callable[[int], None]:
        """For one layer, of a pull that has so much `room`; 0: what the disk has. It raises Fault."""

        def spend(count: int) -> None:
            self._written[number % MOST_LAYERS] += count
            if room and sum(self._written) > room:
                cause = f"with its image's other layers it is larger than the {room >> 20} MiB that it may have here"
                raise Fault(Kind.UNAVAILABLE, "layer", cause, reason="NoSpace")

        return spend


def unpack(stdin: Hashed, digest: str, diff_id: str, spend: Callable[[int], None]) -> Unpacked:
    """Unpack `stdin` into the root folder and verify both digests."""
    unpacked = hashlib.new(diff_id.partition(":")[0])
    try:
        more = chunks_of(stdin)

        def hashed() -> bytes:
            chunk = more()
            unpacked.update(chunk)
            return chunk

        source = tarstream.ByteSource(hashed)
        extractor = Extractor(spend)
        extractor.run(tarstream.TarReader(source))
        source.drain()
        _drained(stdin)
    except (_GZIP_ERROR, zstandard.ZstdError, lzma.LZMAError, Fault) as error:
        # Bytes that are not what the manifest promised explain every other fault better than its symptom.
        if isinstance(error, Fault) and error.kind is not Kind.BROKEN:
            raise
        _drained(stdin)
        _check(stdin.digest(), digest, "the registry sent")
        raise error if isinstance(error, Fault) else tarstream.broken(f"it cannot be decompressed ({error})") from error
    _check(stdin.digest(), digest, "the registry sent")
    _check(f"{unpacked.name}:{unpacked.hexdigest()}", diff_id, "it unpacks to")
    return Unpacked(
        size=stdin.size,
        unpacked=extractor.unpacked,
        entries=extractor.entries,
        taken=extractor.taken,
        implicit=sorted(extractor.implicit),
        whiteouts=extractor.whiteouts(),
    )


def _check(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise Fault(
            Kind.BROKEN,
            "layer",
            f"digest mismatch: {what} {found} where {wanted} was promised",
            "pull again; if it stays, push the image again",
            reason="DigestMismatch",
        )


def serve(connection: int, request: UnpackRequest, spend: Callable[[int], None]) -> None:
    """Unpack what comes on `connection`, and answer there."""
    stdin = Hashed(connection, request.digest)
    lock_into(request.folder)
    try:
        answer: Unpacked | Failure = unpack(stdin, request.digest, request.diff_id, spend)
    except Fault as fault:
        answer = Failure.of(fault)
    pipe_frames.write(connection, answer)
    # Who closes a connection with bytes unread breaks it, and the answer may be lost: the other side hangs up.
    while os.read(connection, READ):
        pass


def main() -> None:
    """Fork a process for each request until nobody asks any more."""
    control = socket.socket(fileno=0)
    requests = pipe_frames.MessageFrames(UnpackRequest)
    room, number = Room(), 0
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    # What is here now is never freed: forks then share it instead of each copying the pages of its counts.
    gc.collect()
    gc.freeze()
    while True:
        data, connections, _, _ = socket.recv_fds(control, REQUEST_LIMIT, 1)
        if not data:
            return
        for request in requests.feed(data):
            if os.fork() == 0:
                _forked(control, connections[0], request, room.spender(number, request.room))
            number += 1
        for connection in connections:
            os.close(connection)


def _forked(control: socket.socket, connection: int, request: UnpackRequest, spend: Callable[[int], None]) -> NoReturn:
    code = 1
    try:
        control.close()
        serve(connection, request, spend)
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody wants the answer
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
