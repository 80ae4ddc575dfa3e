"""Folders of NFS servers (Amazon EFS is one), mounted on the cell.

The kernel's own client does it, without mount.nfs: names are resolved and the versions tried here. A server that does
not answer is told of within seconds; what hangs in the kernel hangs in a process that is killed. NFS 3 is mounted where
an option asks for it, without a lock daemon. Source: nfs(5).
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from hostkit import mountinfo, programs
from hostkit.tasks import KeyedLocks

PORT = 2049
# For an answer to a first packet, and for a mount: a server in the same region needs milliseconds.
ANSWER_SECONDS, MOUNT_SECONDS = 5.0, 15.0
# Newest first; what a server does not speak it says at once.
VERSIONS = ("4.2", "4.1", "4.0")
_OPTION = re.compile(r"[a-z][A-Za-z0-9_.=-]*")
_VERSION = ("vers", "nfsvers", "minorversion")
# Who mounts knows these, not who asks for it.
_OURS = frozenset(("addr", "clientaddr", "mountaddr", "ro", "rw", "bind", "rbind", "remount", "move", "loop"))


class FileServers:
    """Mounts folders of file servers, one at a time for each target."""

    def __init__(self) -> None:
        self._turns = KeyedLocks[str]()

    async def mount(self, asked: wire.MountFolderRequest) -> None:
        """Mount what is asked for, unless it is there. Raises Fault that names the server and the path."""
        target = os.path.normpath(asked.target)
        if not os.path.isabs(target) or len(Path(target).parts) < 3:
            raise Fault(Kind.INVALID, f"folder {asked.target}", "it must be absolute and below another folder")
        thing = f"NFS server {asked.server}, folder {asked.path}"
        given = options(asked.options, thing)
        async with self._turns[target]:
            if _mounted(target, source(asked.server, asked.path)):
                return
            own, address = await _reached(asked.server, _port(given), thing)
            Path(target).mkdir(parents=True, exist_ok=True, mode=0o755)
            await _mount(asked, target, (*given, f"addr={address}", f"clientaddr={own}"), thing)


def options(given: Sequence[str], thing: str) -> tuple[str, ...]:
    """The options that were asked for, one each. Raises Fault INVALID naming one that may not be. Pure."""
    listed = [one.strip() for text in given for one in text.split(",") if one.strip()]
    for one in listed:
        if not _OPTION.fullmatch(one) or one.partition("=")[0] in _OURS:
            raise Fault(Kind.INVALID, thing, f"the mount option {one!r} cannot be given", "leave it out")
    return tuple(listed)


def attempts(given: Sequence[str]) -> list[tuple[str, ...]]:
    """The options of each attempt: of the version that is asked for, else of each version. Pure."""
    if any(one.partition("=")[0] in _VERSION for one in given):
        return [tuple(given)]
    return [(f"vers={version}", *given) for version in VERSIONS]


def source(server: str, path: str) -> str:
    """As the kernel names what is mounted: an address of IPv6 is in brackets. Pure."""
    return f"[{server}]:{path}" if ":" in server else f"{server}:{path}"


def _port(given: Sequence[str]) -> int:
    ports = [one.partition("=")[2] for one in given if one.startswith("port=")]
    return int(ports[-1]) if ports and ports[-1].isdecimal() and len(ports[-1]) <= 5 else PORT


def _mounted(target: str, wanted: str) -> bool:
    found = mountinfo.at(target, mountinfo.own())
    if found is not None and found.source != wanted:
        raise Fault(Kind.EXISTS, f"folder {target}", f"{found.source} is mounted there already")
    return found is not None


async def _reached(server: str, port: int, thing: str) -> tuple[str, str]:
    """Our own address towards a server, and its. Raises Fault."""
    mend = f"check the name, and that the cells' security group lets them reach TCP port {port} of the server"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(server, port)
    except socket.gaierror as error:
        raise Fault(Kind.UNAVAILABLE, thing, f"its name cannot be resolved: {error.strerror}", mend) from error
    except TimeoutError as error:
        cause = f"it does not answer on TCP port {port} within {ANSWER_SECONDS:g} s"
        raise Fault(Kind.UNAVAILABLE, thing, cause, mend) from error
    except OSError as error:
        raise Fault(Kind.UNAVAILABLE, thing, f"TCP port {port}: {error.strerror or error}", mend) from error
    own, there = writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]
    writer.close()
    return own, there


async def _mount(asked: wire.MountFolderRequest, target: str, known: tuple[str, ...], thing: str) -> None:
    words = ""
    for attempt in attempts(known):
        kind = "nfs" if {"vers=3", "nfsvers=3"} & {*attempt} else "nfs4"
        # Of NFS 3 locks are a protocol, and a daemon, of their own.
        alone = ("nolock",) if kind == "nfs" and "nolock" not in attempt else ()
        written = ",".join((*attempt, *alone, "ro" if asked.read_only else "rw"))
        # Killed after its time, whatever the kernel waits for: a process that mounts NFS can be.
        argv = ["mount", "--internal-only", "-t", kind, "-o", written, "--", source(asked.server, asked.path), target]
        try:
            done = await programs.run(argv, deadline=MOUNT_SECONDS)
        except Fault as fault:
            if fault.kind is not Kind.TIMEOUT:
                raise
            cause = f"the mount did not end within {MOUNT_SECONDS:g} s"
            raise Fault(Kind.UNAVAILABLE, thing, cause, "look whether the server works") from fault
        if done.returncode == 0:
            return
        words = " ".join(done.words.split())
        if "not supported" not in words.lower():
            break
    if "unknown filesystem type" in words:
        cause = "the kernel of the cell has no NFS client"
        raise Fault(Kind.UNSUPPORTED, thing, cause, "use a machine image whose kernel has the module nfs")
    mend = "check that the folder is exported to the cells, and the mount options"
    raise Fault(Kind.UNAVAILABLE, thing, f"it cannot be mounted: {words}", mend)
