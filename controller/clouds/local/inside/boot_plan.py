"""What the controller tells an instance's first process, as JSON. Only types: never imported at run time inside."""

from __future__ import annotations

from typing import TypedDict


class CgroupMount(TypedDict):
    """One hierarchy as it is mounted inside: `target` below /sys/fs/cgroup, empty for that folder itself."""

    target: str
    kind: str
    options: str


class BootPlan(TypedDict):
    """A machine to become. Paths are this machine's."""

    groups: list[str]
    """The instance's folder in every cgroup hierarchy; each has a folder "init" inside."""
    delegate: dict[str, str]
    """Folder of a v2 group → what to write to its subtree_control once nothing is in it."""
    cgroup_mounts: list[CgroupMount]
    root: str
    """An empty folder on which the new root is built."""
    disk: str
    """The folder that is the instance's disk."""
    shared: str
    """A folder of this machine's that the agent sees read-only as that of shared layers; "" where there is none."""
    disks: list[str]
    """Where file systems of this machine's disks are mounted."""
    visible: list[str]
    files: dict[str, str]
    """Name below /etc → text."""
    hostname: str
    environment: dict[str, str]


class BringerPlan(TypedDict):
    """A room for the process that brings shared layers. Paths are this machine's."""

    groups: list[str]
    """cgroups to enter."""
    root: str
    """An empty folder on which the room is built."""
    folder: str
    """The only one that it may write to."""
    room: int
    """Bytes of the largest file."""
    visible: list[str]
    argv: list[str]
    environment: dict[str, str]
