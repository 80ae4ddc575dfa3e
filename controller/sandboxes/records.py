"""Records of sandboxes and containers, as stored: enough to answer a kubelet with no cell at all.

Protobuf messages are kept as their bytes, so that a record is one flat msgpack map and a restart loses nothing.
"""

from __future__ import annotations

import msgspec

from controller.model.names import CellName
from controller.model.pod import PodClaim

# The name under which a cell carries its sandbox; a container's is its id.
CARRIED = "sandbox"


def sandboxes(owner: str) -> str:
    """The kind of record, in the store, of the sandboxes of one room that runs pods."""
    return f"{owner}-sandbox"


def containers(owner: str) -> str:
    """The kind of record of their containers."""
    return f"{owner}-container"


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox. `config` is the PodSandboxConfig of who asked for it, `status` the last PodSandboxStatus known.

    `attempt` and `uid` name the cell's claim. `pulled` are image references that this pod was allowed to pull,
    each with the id it resolved to. `released` tells that the cell has been given back; `interrupted` says why it ends
    before its pod does: its instance will be taken.
    """

    id: str
    cell: CellName
    uid: str
    attempt: int
    config: bytes
    status: bytes
    pulled: dict[str, str] = {}
    released: bool = False
    interrupted: str = ""


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One container. `status` is the last ContainerStatus known, with the paths of who asked for it.

    `log_path` is the file on this machine that its log is copied to ("" for none); `copies` maps a file of the cell to
    the file here, if it exists, that it is copied back to when the container has ended (the termination message).
    """

    id: str
    sandbox: str
    cell: CellName
    status: bytes
    log_path: str = ""
    copies: dict[str, str] = {}
    log_complete: bool = False


class CarriedSandbox(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a sandbox on its cell: the sandbox's as it was at first, and the claim that the cell was given."""

    claim: PodClaim
    record: SandboxRecord
