"""Who this cell is, on its disk: key, certificate, authority, name and settings; made once, kept over restarts."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cellagent.kernel import processes
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind

KEY_DEADLINE = 20.0


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where the controllers are and what joining told. `settings` is a serialized CellSettings."""

    cell: str
    controllers: tuple[str, ...]
    renew_at: float
    settings: bytes

    def cell_settings(self) -> wire.CellSettings:
        """The settings as a message."""
        return wire.CellSettings.FromString(self.settings)


class Identity:
    """The files of one cell's identity."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.key = folder / "cell.key"
        self.certificate = folder / "cell.pem"
        self.authority = folder / "ca.pem"
        self._home = folder / "home"

    def home(self) -> Home | None:
        """What joining told, if this cell has joined."""
        try:
            return msgspec.msgpack.decode(self._home.read_bytes(), type=Home)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, home: Home, certificate: bytes) -> None:
        """Write down a certificate, then that it is there."""
        write(self.certificate, certificate)
        write(self._home, msgspec.msgpack.encode(home))

    async def signing_request(self) -> bytes:
        """A request for this cell's key, which is made on first use. PEM."""
        # openssl as a child: loading a cryptography library would cost the agent 20 MB for good.
        request = ["openssl", "req", "-new", "-batch", "-subj", "/CN=cell", "-sha256"]
        if self.key.exists():
            made = [*request, "-key", str(self.key)]
        else:
            made = [
                *request,
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                str(self.key),
            ]
        done = await processes.run(made, deadline=KEY_DEADLINE)
        if done.returncode:
            raise Fault(Kind.BROKEN, "the cell's key", done.stderr.decode(errors="replace").strip())
        self.key.chmod(0o600)
        return done.stdout


def write(path: Path, data: bytes) -> None:
    """Replace a file at once, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
