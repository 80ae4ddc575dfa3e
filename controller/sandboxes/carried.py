"""Records that a cell carries for the case that the controller's own are lost: written, signed, and read back.

A cell is somebody else's computer: whoever is root in its pod may be root on it. So it keeps, and gives back, what it
cannot have made itself. The signature is a MAC under a key that only the authority's owner can derive, over the cell's
name, the name of the record and its bytes: one cell's record is worth nothing on another, nor under another name.
"""

from __future__ import annotations

import hashlib
import hmac
import stat

import structlog

from cellwire.cell.v1 import cell_pb2 as wire
from controller.model.names import CellName
from controller.sandboxes.cell_client import OneCell

log = structlog.get_logger()
PURPOSE = "what cells carry"
FOLDER = "/var/lib/chinampa/carried"
FILE = "record"
# Longer than any pod's manifest that an API server takes; a cell's agent reads back no more.
LARGEST = 1 << 20
_DIGEST = hashlib.sha256().digest_size


class Carrier:
    """Puts records on cells, and takes back those that it has put there itself. `key` is a secret of the authority."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signed(self, cell: CellName, name: str, record: bytes) -> bytes:
        """The record as it lies on the cell."""
        return self._mac(cell, name, record) + record

    def believed(self, cell: CellName, name: str, told: bytes) -> bytes | None:
        """The record that lies on the cell; None where it was not signed here for this cell and name."""
        mac, record = told[:_DIGEST], told[_DIGEST:]
        return record if hmac.compare_digest(mac, self._mac(cell, name, record)) else None

    def packed(self, cell: CellName, name: str, record: bytes) -> bytes:
        """As `signed`; nothing where the record is too long to be carried."""
        signed = self.signed(cell, name, record)
        if len(signed) > LARGEST:
            log.warning("a record is too long to be carried: it ends with the store", cell=cell, bytes=len(signed))
            return b""
        return signed

    async def put(self, cell: OneCell, name: str, record: bytes) -> None:
        """Have the cell carry a record, in place of what it carried under this name. Raises Fault."""
        packed = self.packed(cell.name, name, record)
        if not packed:
            return
        messages = [
            wire.PutFilesInput(entry=wire.FileEntry(path=".", mode=stat.S_IFDIR | 0o700)),
            wire.PutFilesInput(entry=wire.FileEntry(path=FILE, mode=stat.S_IFREG | 0o600)),
            wire.PutFilesInput(data=packed),
        ]
        await cell.put_files(wire.PutFilesStart(folder=_folder(name)), messages)

    async def get(self, cell: OneCell, name: str) -> bytes | None:
        """The record that the cell carries under this name; None where it carries none of ours. Raises Fault."""
        told = await cell.read_file(path(name), LARGEST)
        record = self.believed(cell.name, name, told)
        if told and record is None:
            log.warning("a cell tells of a pod what was not signed here", cell=cell.name, record=name)
        return record

    def _mac(self, cell: CellName, name: str, record: bytes) -> bytes:
        told = b"".join(len(part).to_bytes(8, "big") + part for part in (cell.encode(), name.encode(), record))
        return hmac.digest(self._key, told, "sha256")


def path(name: str) -> str:
    """Where on a cell the record of this name lies."""
    return f"{_folder(name)}/{FILE}"


def _folder(name: str) -> str:
    return f"{FOLDER}/{name}"
