"""Identity of this cell on disk: key, certificate, authority, name and settings; made once, kept over restarts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from hostkit import files, programs

KEY_DEADLINE = 20.0
REQUEST = ("req", "-new", "-batch", "-subj", "/CN=cell", "-sha256")


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where the controllers are and what joining told. `settings` is a serialized CellSettings. `vpc` are the networks
    in which the pod's address is known, as the cloud says; none where it does not.
    """

    cell: str
    controllers: tuple[str, ...]
    renew_at: float
    settings: bytes
    vpc: tuple[str, ...] = ()

    def cell_settings(self) -> wire.CellSettings:
        """The settings as a message."""
        return wire.CellSettings.FromString(self.settings)


class CellIdentity:
    """The files of one cell's identity."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.key = folder / "cell.key"
        self.certificate = folder / "cell.pem"
        self.authority = folder / "ca.pem"
        self._home = folder / "home"
        self._worker = folder / "worker"

    def home(self) -> Home | None:
        """What joining told, if this cell has joined."""
        try:
            return msgspec.msgpack.decode(self._home.read_bytes(), type=Home)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, home: Home, certificate: bytes) -> None:
        """Write down a certificate, then that it is there."""
        files.replace(self.certificate, certificate, durable=True)
        files.replace(self._home, msgspec.msgpack.encode(home), durable=True)

    def worker(self) -> wire.DialWorkerRequest | None:
        """The worker that is dialled beside the controller, if one is."""
        try:
            return wire.DialWorkerRequest.FromString(self._worker.read_bytes())
        except (OSError, DecodeError):
            return None

    def keep_worker(self, worker: wire.DialWorkerRequest) -> None:
        """Write down which worker is dialled. Raises Fault INVALID where nothing could be."""
        if not worker.name or not worker.addresses:
            raise Fault(Kind.INVALID, "the worker to dial", "its name or its addresses are missing")
        files.replace(self._worker, worker.SerializeToString(), durable=True)

    async def signing_request(self) -> bytes:
        """A request for this cell's key, which is made on first use. PEM. Raises Fault BROKEN."""
        made = self.key.with_name("cell.key.new")
        source = self.key if self.key.exists() else made
        words = await _openssl(source, fresh=source is made)
        if words is None:
            # Only where the image has no openssl: ten times slower, and still nothing of it stays in the agent.
            own = [sys.executable, "-m", "cellagent.boot.request", str(source)]
            words = await programs.run(own, env={**programs.ENVIRONMENT, **_import_path()}, deadline=KEY_DEADLINE)
        if words.returncode or not words.stdout.startswith(b"-----BEGIN CERTIFICATE REQUEST"):
            raise Fault(Kind.BROKEN, "the cell's key", words.words)
        if source is made:
            made.chmod(0o600)
            made.replace(self.key)  # whole or not at all: a killed agent begins anew
        return words.stdout


async def _openssl(key: Path, *, fresh: bool) -> programs.Completed | None:
    """A request by the program, which loads nothing into the agent; None where it is not installed."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key)]
    source = new if fresh else ["-key", str(key)]
    try:
        return await programs.run(["openssl", *REQUEST, *source], deadline=KEY_DEADLINE)
    except Fault as fault:
        if fault.kind is Kind.UNSUPPORTED:
            return None
        raise


def _import_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
