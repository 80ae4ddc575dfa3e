"""The inside of an instance's network: addresses, the way out, and the metadata service's address.

An instance's second address is its pod's: as on EC2 it is told by the metadata service and not configured in the
system; the agent answers for it. Namespaces are not pinned: they last as long as the processes in them.
"""

from __future__ import annotations

import socket
from pathlib import Path

from cellwire.faults import Fault, Kind
from controller.clouds.local import addresses, router
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from hostkit import programs

METADATA = "169.254.169.254"
_BACKLOG = 64


async def configure(settings: LocalSettings, record: Record) -> None:
    """Give the instance whose first process is `record.pid` its address and its route, by the link that it has."""
    inside = [
        "link set lo up",
        f"address replace {METADATA}/32 dev lo",
        "link set eth0 addrgenmode none up",
        f"address replace {record.address}/{addresses.length(settings.subnet)} dev eth0",
        f"route replace default via {addresses.gateway(settings.subnet)}",
    ]
    if record.pod_address6:
        inside += [
            f"address replace {router.OWN6}/64 dev eth0 nodad",
            f"route replace default via {router.ROUTER6} dev eth0",
        ]
    enter = ["nsenter", f"--net=/proc/{record.pid}/ns/net"]
    await programs.check([*enter, "ip", "-batch", "-"], stdin="\n".join(inside).encode())


def metadata_socket(pid: int) -> socket.socket:
    """A listening socket at the metadata address inside the network namespace of this process. Raises Fault BROKEN."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((METADATA, 80))
            made.listen(_BACKLOG)
        except OSError:
            made.close()
            raise
        return made

    try:
        return router.within(Path(f"/proc/{pid}/ns/net"), listen)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"metadata service of process {pid}", str(error)) from error
