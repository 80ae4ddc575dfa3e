"""Pod-level user namespaces: what was asked for, and whether this machine can do it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from cellagent.kernel import mounts, namespaces
from cellagent.kernel.namespaces import IdMap
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

# Any range that is not the machine's own will do to find out.
PROBE = IdMap(0, 1_000_000, 65536)


class Support(msgspec.Struct):
    """Whether files can be mapped for a user namespace here; `why` not, as long as it is not found out or is so."""

    works: bool = False
    why: str = "it is still being found out"


def mapping(config: cri.PodSandboxConfig) -> IdMap | None:
    """The ids of the pod's user namespace; None where it shares the machine's. Raises Fault.

    Users and groups are mapped alike, in one range that begins with root inside: that is all a kubelet asks for.
    """
    wanted = config.linux.security_context.namespace_options
    options = wanted.userns_options
    thing = f"user namespace of pod {config.metadata.namespace}/{config.metadata.name}"
    if options.mode == cri.NODE or (options.mode == cri.POD and not options.uids and not options.gids):
        return None
    if options.mode != cri.POD:
        cause = f"its mode is {cri.NamespaceMode.Name(options.mode)}"
        raise Fault(Kind.INVALID, thing, cause, "it is the pod's or the node's")
    if len(options.uids) != 1 or list(options.uids) != list(options.gids):
        raise Fault(Kind.INVALID, thing, "one range is possible, the same for users and groups", "give one of each")
    (ids,) = options.uids
    if ids.container_id != 0 or not ids.length or not ids.host_id:
        raise Fault(Kind.INVALID, thing, "its range must begin with root inside, and elsewhere than at root outside")
    if wanted.network == cri.NODE:
        raise Fault(Kind.INVALID, thing, "the pod uses the machine's own network", "set hostNetwork: false")
    return IdMap(ids.container_id, ids.host_id, ids.length)


async def find_out(folder: Path, support: Support) -> None:
    """Try a mapped overlay in a new folder, which lies where layers lie; tell `support`."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir(parents=True)
        paths = await namespaces.create(folder / "ns", ["user"], uids=(PROBE,), gids=(PROBE,))
        try:
            mounts.overlay(
                [folder / "lower"], folder / "upper", folder / "work", folder / "merged", userns=paths["user"]
            )
            mounts.unmount(folder / "merged")
        finally:
            namespaces.remove(folder / "ns")
        support.works, support.why = True, ""
    except (Fault, OSError) as error:
        support.why = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
