"""Settings of the local cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cellwire.proxies import DIRECT, Proxies
from controller.model.setting import Group


class LocalOptions(Group, frozen=True, kw_only=True):
    """The cloud whose instances are namespaces of this machine."""

    cluster: Annotated[
        str, Meta(description="Part of the names of cgroups. Unset: `cluster`.", pattern="^[a-z0-9-]{0,40}$")
    ] = ""
    root: Annotated[
        Path | None, Meta(description="Records, keys and disks of instances. Unset: `local` in the state folder.")
    ] = None
    bridge: Annotated[
        str, Meta(description="Name of this machine's link to the VPC of instances.", min_length=1, max_length=15)
    ] = "chinampa0"
    subnet: Annotated[str, Meta(description="Addresses of the VPC; this machine has the first.")] = "10.201.0.0/16"
    subnet6: Annotated[
        str,
        Meta(description="Addresses of IPv6 of the VPC (`fd00:c1::/64`), of which each pod has one. Empty: IPv4 only."),
    ] = ""
    public_subnet: Annotated[
        str, Meta(description="Addresses that stand for public ones, for pods that ask for one. Empty: none.")
    ] = ""
    routes: Annotated[
        tuple[str, ...], Meta(description="Networks beyond the VPC to which this machine leads: its own pods', say.")
    ] = ()
    masquerade: Annotated[bool, Meta(description="A NAT gateway: whether instances reach beyond this machine.")] = False
    nameservers: Annotated[tuple[str, ...], Meta(description="For instances. Empty: this machine's own.")] = ()
    visible: Annotated[tuple[str, ...], Meta(description="Folders below /tmp or /run that instances must see.")] = ()
    memory_mib: Annotated[
        int, Meta(ge=0, description="Memory of all instances together; 0: all there is.", extra={"unit": "MiB"})
    ] = 0
    shared_layers_gib: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "The most that unpacked layers which instances share take of this machine's disk, older ones that"
                " instances still stand on and those on their way included; no more than half of what is free is"
                " added. An image may take half of what is left. 0: each instance has its own."
            ),
            extra={"unit": "GiB"},
        ),
    ] = 20
    cgroup_parent: Annotated[str, Meta(description="cgroup below which instances' groups are made.")] = ""


class LocalSettings(LocalOptions, frozen=True, kw_only=True):
    """What one local cloud is called, where it keeps its things, and what its instances see.

    Two clusters on one machine must differ in `cluster`, `root`, `bridge` and `subnet`.
    """

    cluster: str = "default"
    """Part of the names of cgroups: chinampa-<cluster>."""
    root: Path = Path("/var/lib/chinampa/local")
    """Records, keys and the disks of instances."""
    path: tuple[str, ...] = ()
    """Folders put before the usual PATH of instances: where `cellagent` is."""
    python_path: tuple[str, ...] = ()
    """PYTHONPATH inside instances, for an agent that runs from a checkout."""
    registries: tuple[object, ...] = ()
    """How registries are reached for layers that instances share, in the words that instances are told."""
    proxies: Proxies = DIRECT
    environment: dict[str, str] = {}
    """More variables for the user-data."""
    launch_credit_seconds: float = 15.0
    """For so long after launch the CPU size is not enforced, as launch credits on EC2: booting is not throttled."""
    refusals: dict[str, str] = {}
    """For tests: type, or type/launch-type → code with which its launch is refused."""
    keep_terminated_seconds: float = 600.0
    """How long an ended instance is still told, and its client token remembered."""
    account: str = "000000000000"
    region: str = "local"
    zone: str = "local-a"
    image: str = "ami-00000000000000000"

    @classmethod
    def of(
        cls,
        chosen: LocalOptions,
        cluster: str,
        state: Path,
        *,
        path: tuple[str, ...],
        python_path: tuple[str, ...],
        needed: tuple[str, ...],
    ) -> LocalSettings:
        """What a file says, completed: `needed` are folders that instances must see beside those that it names."""
        said = msgspec.structs.asdict(chosen)
        said["cluster"] = chosen.cluster or cluster
        said["root"] = chosen.root or state / "local"
        said["visible"] = (*needed, *chosen.visible)
        return cls(**said, path=path, python_path=python_path)
