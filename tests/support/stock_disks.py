"""Disks like a distribution's own cloud images, for whoever cannot download those: Debian and cloud-init by mmdebstrap.

One file system without a table; kernel and first stage are the distribution's and lie beside it, for QEMU to load.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build/stock"
SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
# As the genericcloud images of Debian have them, as far as what boots and joins is concerned.
PACKAGES = (
    "cloud-init",
    "e2fsprogs",
    "iproute2",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netplan.io",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "ca-certificates",
    "nftables",
)
_NOT_UNPACKED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
# There is no ssh whose keys were to be made.
_SETTINGS = "datasource_list: [ Ec2, None ]\nssh_deletekeys: false\nssh_genkeytypes: []\n"


@dataclass(frozen=True)
class StockDisk:
    """A disk and what boots it."""

    disk: Path
    kernel: Path
    first_stage: Path


def chosen() -> list[str]:
    """Those that are booted: STOCK names them."""
    return os.environ.get("STOCK", "debian-13").split(",")


def make_all() -> None:
    """Make the disks of those that are booted, where the tests look for them."""
    for name in chosen():
        if name in SUITES:
            made(name, FOLDER)


def lacking() -> str:
    """What this machine lacks to make one; "" where it has all."""
    return "" if shutil.which("mmdebstrap") else "no mmdebstrap: install it"


def made(name: str, folder: Path) -> StockDisk:
    """The disk of a distribution, made in this folder where it is not there yet; minutes."""
    found = StockDisk(folder / f"{name}.raw", folder / f"{name}.vmlinuz", folder / f"{name}.initrd")
    if found.disk.exists():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / f"{name}.tree"
    shutil.rmtree(tree, ignore_errors=True)
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_UNPACKED]
    _run(
        "mmdebstrap", "--quiet", "--variant=essential", "--mode=root", f"--include={','.join(PACKAGES)}", *options,
        SUITES[name], str(tree),
    )  # fmt: skip
    (tree / "etc/cloud/cloud.cfg.d/90_dpkg.cfg").write_text(_SETTINGS)
    (tree / "etc/fstab").write_text("/dev/nvme0n1 / ext4 rw 0 1\n")
    (tree / "etc/hostname").write_text("stock\n")
    (tree / "etc/machine-id").write_text("")
    (kernel,), (first,) = tree.glob("boot/vmlinuz-*"), tree.glob("boot/initrd.img-*")
    shutil.copyfile(kernel, found.kernel)
    shutil.copyfile(first, found.first_stage)
    new = found.disk.with_suffix(".new")
    new.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(new), "3G")
    new.rename(found.disk)
    shutil.rmtree(tree)
    return found


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr[-3000:]}"
