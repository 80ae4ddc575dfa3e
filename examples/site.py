"""What the demonstration of this clone is called on this machine: no other clone's has the same names.

Cluster and bridge follow from the clone's folder, so that a later run finds what an earlier one has left. So do the
subnet and the API's port, of those that are free, so that two that begin at once do not take the same ones.
"""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FIRST_API_PORT = 7712
PORTS = 256


@dataclass(frozen=True, slots=True)
class Site:
    """One clone's demonstration."""

    clone: Path

    @property
    def mark(self) -> str:
        """Six letters that tell this clone from others."""
        return hashlib.sha256(str(self.clone).encode()).hexdigest()[:6]

    @property
    def folder(self) -> Path:
        """Everything that it writes."""
        return self.clone / ".demo"

    @property
    def cluster(self) -> str:
        """In names of control groups."""
        return f"demo-{self.mark}"

    @property
    def bridge(self) -> str:
        """An interface's name has at most 15 letters."""
        return f"demo-{self.mark}"

    @property
    def api_port(self) -> int:
        """The port of the loopback for the pods API, if nobody has it."""
        return FIRST_API_PORT + int(self.mark, 16) % PORTS

    def subnet(self, addresses: Iterable[str]) -> str:
        """10.211.n, where no other address of this machine is. Raises OSError where there is none left. Pure."""
        taken = {int(found[1]) for one in addresses if (found := re.match(r"10\.211\.(\d+)\.", one))}
        first = int(self.mark, 16)
        for step in range(256):
            if (third := (first + step) % 256) not in taken:
                return f"10.211.{third}"
        raise OSError("every subnet of 10.211.0.0/16 is taken; `ip address` says by which interfaces")


def addresses(but: str) -> list[str]:
    """The IPv4 addresses of this machine, those of one interface left out."""
    shown = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in shown.splitlines()]
    return [row[3] for row in rows if row[1] != but]


def free_port(wanted: int) -> int:
    """A port of the loopback: the wanted one, if nobody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free")
