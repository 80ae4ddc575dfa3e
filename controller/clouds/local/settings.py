"""Settings of the local cloud."""

from __future__ import annotations

from pathlib import Path

import msgspec


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one local cloud is called, where it keeps its things, and what its instances see.

    Two clusters on one machine must differ in `cluster`, `root`, `bridge` and `subnet`.
    """

    cluster: str = "default"
    """Part of the names of cgroups: chinampa-<cluster>."""
    root: Path = Path("/var/lib/chinampa/local")
    """Records, keys and the disks of instances."""
    bridge: str = "chinampa0"
    """At most 15 letters."""
    subnet: str = "10.201.0.0/16"
    """The bridge has its first address; instances get two addresses each."""
    path: tuple[str, ...] = ()
    """Folders put before the usual PATH of instances: where `cellagent` is."""
    python_path: tuple[str, ...] = ()
    """PYTHONPATH inside instances, for an agent that runs from a checkout."""
    visible: tuple[str, ...] = ()
    """More folders of this machine that must stay readable inside, though they lie below /tmp, /run or the like."""
    environment: dict[str, str] = {}
    """More variables for the user-data."""
    nameservers: tuple[str, ...] = ()
    """Written to /etc/resolv.conf inside; empty: this machine's own."""
    masquerade: bool = False
    """Let instances reach beyond this machine, by its own addresses (nft; turns forwarding on)."""
    cgroup_parent: str = ""
    """Group below which chinampa-<cluster> is made, in every hierarchy; empty: the root."""
    launch_credit_seconds: float = 15.0
    """For so long after launch the CPU size is not enforced, as launch credits on EC2: booting is not throttled."""
    memory_mib: int = 0
    """What all instances may have together; 0: all memory of this machine."""
    refusals: dict[str, str] = {}
    """For tests: type, or type/launch-type → code with which its launch is refused."""
    keep_terminated_seconds: float = 600.0
    """How long an ended instance is still told, and its client token remembered."""
    account: str = "000000000000"
    region: str = "local"
    zone: str = "local-a"
    image: str = "ami-00000000000000000"
