"""Where the runtime keeps things, and how it finds what it runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cellagent.network import cni, pod_network
from cellagent.runtime import cdi
from cellwire.faults import Fault, Kind

# Where, beside a container's layers, a part of a volume is bound whose mounts pass out of the container.
SHARED_PART = "shared-part-"


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`root` holds what containers write (large, on disk); `state` what the runtime must find again after a crash of
    its own, but not after a reboot (small, best on tmpfs).
    """

    root: Path
    state: Path
    pod_address: str = ""
    """The cell's second address in CIDR form; empty where the agent runs alone."""
    pod_address6: str = ""
    """The pod's address of IPv6 in CIDR form; empty where there is none."""
    vpc: tuple[str, ...] = ()
    """The networks in which that address is known."""
    bridge: str = pod_network.BRIDGE
    subnet: str = pod_network.BRIDGE_SUBNET
    """Bridge and subnet of the pods of an agent that runs alone."""
    oci_runtime: str = ""
    """crun or runc; empty is the better one that works."""
    cdi: tuple[Path, ...] = cdi.FOLDERS
    """Where specifications of devices are; the later go before the earlier."""
    plugins: cni.Plugins = cni.Plugins()
    """Where CNI plugins and their configuration are, for an agent that runs alone."""

    def sandbox_folder(self, sandbox_id: str) -> Path:
        """Small files of one sandbox: record, namespaces, hosts, resolv.conf."""
        return Path(f"{self.state}/sandboxes/{sandbox_id}")

    def bundle(self, container_id: str) -> Path:
        """The OCI bundle of one container, with its record, attach socket and control pipe."""
        return Path(f"{self.state}/containers/{container_id}")

    def layers(self, container_id: str) -> Path:
        """The writable layer and the mounted root of one container."""
        return Path(f"{self.root}/containers/{container_id}")

    def carried(self, container_id: str) -> Path:
        """What the cell carries for its controller because of a container: it goes with the container's files."""
        return Path(f"{self.root}/containers/{container_id}/carried")

    @property
    def spare_layers(self) -> Path:
        """Where the folders of the next container are made ahead."""
        return self.root / "spare"

    def all_layers(self) -> list[Path]:
        """The folders of `layers` that there are, known or not."""
        return list((self.root / "containers").iterdir())

    @property
    def networks_here(self) -> Path:
        """Leases of the bridge, which a reboot ends."""
        return self.state / "network"

    @property
    def networks(self) -> Path:
        """What CNI plugins have made: what they hold outlives a reboot, so this must, too."""
        return self.root / "networks"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints that are being made."""
        return self.root / "checkpoints"

    @property
    def trees(self) -> Path:
        """Where it is written which trees of files are being put."""
        return self.root / "trees"

    @property
    def exits(self) -> Path:
        """One file for each container that ended, written by conmon."""
        return self.state / "exits"

    @property
    def oci(self) -> Path:
        """State of the OCI runtime."""
        return self.state / "oci"

    def prepare(self) -> None:
        """Make the folders that everything else relies on."""
        try:
            for folder in (self.state / "sandboxes", self.state / "containers", self.exits, self.oci):
                folder.mkdir(parents=True, exist_ok=True, mode=0o711)
            (self.root / "containers").mkdir(parents=True, exist_ok=True, mode=0o711)
        except OSError as error:
            raise Fault(
                Kind.BROKEN, f"runtime folder {self.state}", str(error), "choose a folder that root may write"
            ) from error
