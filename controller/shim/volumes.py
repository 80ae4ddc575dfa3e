"""Copies files between worker and cell: what the kubelet prepared goes there, the termination message comes back.

Owner, mode and symbolic links are kept. Nothing is visible on the cell before the whole tree is there.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, settled

CHUNK = 1 << 18
READ_BACK_DEADLINE = 10.0
PUT_DEADLINE = 60.0
# The kubelet itself shows no more of a termination message (12 KiB for a whole pod).
TERMINATION_LIMIT = 12 << 10


async def send(channel: Channel, source: Path, on_cell: str) -> str:
    """Copy a folder or file to the cell; returns its path there. Raises Fault."""
    path = PurePosixPath(on_cell)
    if source.is_dir():
        await _put(channel, wire.PutFilesStart(folder=str(path)), _messages(_entries(source)))
        return str(path)
    # A single file travels in a folder of its own, since folders are what is replaced as a whole.
    folder = path.parent / "files" / path.name
    await _put(channel, wire.PutFilesStart(folder=str(folder)), _messages(iter([(path.name, source)])))
    return str(folder / path.name)


async def make_folder(channel: Channel, on_cell: str) -> None:
    """An empty folder that any user of the pod may write, as an emptyDir is; one that exists keeps its content."""
    own = wire.FileEntry(path=".", mode=stat.S_IFDIR | 0o777)
    await _put(channel, wire.PutFilesStart(folder=on_cell, keep_existing=True), iter([wire.PutFilesInput(entry=own)]))


async def fetch(channel: Channel, on_cell: str, target: Path) -> None:
    """Bring the end of a small file of the cell into an existing file here."""
    reply = await call(
        cell_grpc.CellStub(channel).ReadFile,
        wire.ReadFileRequest(path=on_cell, limit=TERMINATION_LIMIT),
        deadline=READ_BACK_DEADLINE,
    )
    if reply.data:
        target.write_bytes(reply.data)


async def _put(channel: Channel, start: wire.PutFilesStart, messages: Iterator[wire.PutFilesInput]) -> None:
    try:
        async with asyncio.timeout(PUT_DEADLINE):
            await _send(channel, start, messages)
    except TimeoutError as error:
        cause = f"the cell did not take it within {PUT_DEADLINE:g} s"
        raise Fault(Kind.TIMEOUT, f"volume {start.folder}", cause, "it is tried again") from error


async def _send(channel: Channel, start: wire.PutFilesStart, messages: Iterator[wire.PutFilesInput]) -> None:
    with settled():
        async with cell_grpc.CellStub(channel).PutFiles.open() as stream:
            await stream.send_message(wire.PutFilesInput(start=start))
            for message in messages:
                await stream.send_message(message)
            await stream.send_message(wire.PutFilesInput(commit=wire.PutFilesCommit()), end=True)
            await stream.recv_message()


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        for name in sorted(folders) + sorted(files):
            path = Path(root) / name
            yield str(path.relative_to(folder)), path


def _messages(entries: Iterator[tuple[str, Path]]) -> Iterator[wire.PutFilesInput]:
    for name, path in entries:
        try:
            yield from _file(name, path)
        except OSError as error:
            raise Fault(Kind.BROKEN, f"file {path} of a volume", f"it could not be read: {error}") from error


def _file(name: str, path: Path) -> Iterator[wire.PutFilesInput]:
    found = path.lstat()
    entry = wire.FileEntry(path=name, mode=found.st_mode, uid=found.st_uid, gid=found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        entry.target = str(path.readlink())
    yield wire.PutFilesInput(entry=entry)
    if stat.S_ISREG(found.st_mode):
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield wire.PutFilesInput(data=data)
