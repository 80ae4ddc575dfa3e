"""A disk as the EBS direct APIs take it: blocks of 512 KiB with their checksums, and which of them are there already.

Source: "Use EBS direct APIs to access the contents of an EBS snapshot": blocks that are never put read as zeros; a
block's checksum is SHA-256 in base64; the snapshot's is that of its blocks' raw checksums in the order of the blocks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind

BLOCK = 512 << 10
GIB = 1 << 30


class Block(msgspec.Struct, frozen=True):
    """One block that holds anything: which it is, and its SHA-256."""

    index: int
    digest: bytes

    @property
    def checksum(self) -> str:
        """As the API writes it."""
        return base64.b64encode(self.digest).decode()


class Surveyed(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that was read through. `sha256` is of the whole, as `images bake` says it."""

    sha256: str
    size: int
    blocks: tuple[Block, ...]

    @property
    def gib(self) -> int:
        """The size of a volume for it."""
        return -(-self.size // GIB)


def survey(disk: Path) -> Surveyed:
    """Read a disk through. Slow, so in a thread. Raises Fault INVALID where it cannot be read or holds nothing."""
    whole, blocks, size = hashlib.sha256(), list[Block](), 0
    zeros = bytes(BLOCK)
    try:
        with disk.open("rb") as file:
            while block := file.read(BLOCK):
                whole.update(block)
                if block != zeros[: len(block)]:
                    blocks.append(Block(size // BLOCK, hashlib.sha256(padded(block)).digest()))
                size += len(block)
    except OSError as error:
        raise Fault(Kind.INVALID, f"disk {disk}", error.strerror or str(error)) from error
    if not blocks:
        raise Fault(Kind.INVALID, f"disk {disk}", "it holds nothing but zeros", "bake one with `make image`")
    return Surveyed(sha256=whole.hexdigest(), size=size, blocks=tuple(blocks))


def read(disk: Path, index: int) -> bytes:
    """One block. Raises OSError."""
    with disk.open("rb") as file:
        file.seek(index * BLOCK)
        return padded(file.read(BLOCK))


def padded(block: bytes) -> bytes:
    """A whole block: a disk need not end at one."""
    return block + bytes(BLOCK - len(block))


def linear_checksum(blocks: Iterable[Block]) -> str:
    """The checksum of a whole snapshot."""
    return base64.b64encode(hashlib.sha256(b"".join(block.digest for block in blocks)).digest()).decode()


class Journal:
    """What of an upload is done, in a file beside the disk: its first line names the disk and the snapshot, each other
    one a block that is there. A line that was cut off when the process died is a block that is put again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, sha256: str, snapshot: str) -> None:
        """A new upload."""
        self.path.write_text(f"{sha256} {snapshot}\n")

    def done(self, sha256: str) -> tuple[str, frozenset[int]]:
        """The snapshot of this disk that was begun, and its blocks that are there; "" where none was."""
        try:
            first, *rest = self.path.read_text().split("\n")
        except (OSError, UnicodeDecodeError):
            return "", frozenset()
        digest, _, snapshot = first.partition(" ")
        if digest != sha256 or not rest:
            return "", frozenset()
        return snapshot, frozenset(int(line) for line in rest[:-1] if line.isdecimal())

    def put(self, index: int) -> None:
        """One more block is there."""
        with self.path.open("a") as file:
            file.write(f"{index}\n")

    def forget(self) -> None:
        """The snapshot is whole."""
        self.path.unlink(missing_ok=True)
