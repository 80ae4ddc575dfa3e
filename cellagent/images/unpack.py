"""The process that unpacks one layer: `python -m cellagent.images.unpack FOLDER DIGEST DIFF_ID`.

Compressed bytes come on stdin as they arrive from the registry; what stdin held and what it unpacked to are hashed on
the way. It locks itself into FOLDER before it looks at the first byte, and ends with one JSON line on stdout.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from typing import IO, cast

import msgspec
import zstandard
from isal import igzip_lib

from cellagent.images import tarstream
from cellagent.images.extract import Extractor
from cellagent.images.messages import Failure, Unpacked
from cellwire.faults import Fault, Kind

READ = 256 << 10
CHUNK = 512 << 10
ZSTD_WINDOW_LIMIT = 128 << 20
_GZIP_ERROR = cast("type[Exception]", igzip_lib.error)  # the stubs call it an instance


class Hashed:
    """Standard input, hashed and counted as it is read; a file object to the decompressors."""

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
    return stdin.read


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
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_hooks.clear()


def unpack(stdin: Hashed, digest: str, diff_id: str) -> Unpacked:
    """Unpack `stdin` into the root folder and verify both digests."""
    unpacked = hashlib.new(diff_id.partition(":")[0])
    try:
        more = chunks_of(stdin)

        def hashed() -> bytes:
            chunk = more()
            unpacked.update(chunk)
            return chunk

        source = tarstream.Source(hashed)
        extractor = Extractor()
        extractor.run(tarstream.TarReader(source))
        source.drain()
        _drained(stdin)
    except (_GZIP_ERROR, zstandard.ZstdError, Fault) as error:
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
        implicit=sorted(extractor.implicit),
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


def main() -> None:
    """Unpack standard input into the folder of the first argument."""
    folder, digest, diff_id = sys.argv[1:4]
    stdin = Hashed(0, digest)
    lock_into(folder)
    try:
        reply = msgspec.json.encode(unpack(stdin, digest, diff_id))
    except Fault as fault:
        reply = msgspec.json.encode(Failure.of(fault))
    view = memoryview(reply + b"\n")
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
