"""The raw disk: a table of four partitions, each made as a file and laid into its place. No mounts, no loop devices.

Every identifier is derived from a name, every time is the commit's: equal trees make equal disks.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from images.commands import run
from images.contents import KERNEL_LINE

SECTOR = 512
MIB = 1 << 20
_NAMES = uuid.UUID("6c1f0f5e-9a53-4d58-a3d1-3d0a7c2b7e01")
_BIOS = "21686148-6449-6E6F-744E-656564454649"
_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_USR = {"amd64": "8484680C-9521-48C6-9C11-B0720656F69E", "arm64": "B0E01050-EE5F-4390-949A-9101B17104E9"}
_ROOT = {"amd64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "arm64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"}
ESP_ID = "0ce11ce1"
ESP_MIB, ROOT_MIB, LEAST_MIB = 48, 512, 1024
# What GRUB needs to find a file on the boot partition, nothing else.
_GRUB_MODULES = (
    "part_gpt",
    "fat",
    "search",
    "search_fs_uuid",
    "linux",
    "normal",
    "configfile",
    "minicmd",
    "echo",
    "reboot",
)
_GRUB_FIRST = f"""\
search --no-floppy --fs-uuid --set=root {ESP_ID[:4].upper()}-{ESP_ID[4:].upper()}
set prefix=($root)/grub
configfile ($root)/grub.cfg
"""
_GRUB = f"set timeout=0\nlinux /vmlinuz {KERNEL_LINE}\ninitrd /initrd.img\nboot\n"


class DiskPartition(msgspec.Struct, frozen=True):
    """One partition: its name, type, place in MiB from the start, and size in MiB."""

    name: str
    type: str
    start: int
    size: int

    @property
    def id(self) -> str:
        """Its own identifier."""
        return identifier(self.name)


def identifier(name: str) -> str:
    """A UUID that is always the same for a name."""
    return str(uuid.uuid5(_NAMES, name))


def layout(architecture: str, usr_bytes: int, root_mib: int) -> tuple[DiskPartition, ...]:
    """The partitions. The root is the last: it grows at the first boot. Pure."""
    usr = -(-usr_bytes // MIB)
    bios = DiskPartition("cell-bios", _BIOS, 1, 1)
    esp = DiskPartition("cell-boot", _ESP, 2, ESP_MIB)
    fixed = DiskPartition("cell-usr", _USR[architecture], esp.start + esp.size, usr)
    return bios, esp, fixed, DiskPartition("cell-root", _ROOT[architecture], fixed.start + usr, root_mib)


def table(partitions: tuple[DiskPartition, ...]) -> str:
    """What sfdisk is told. Pure."""
    lines = [f"label: gpt\nlabel-id: {identifier('disk')}\nunit: sectors\nfirst-lba: 34"]
    for each in partitions:
        start, size = each.start * MIB // SECTOR, each.size * MIB // SECTOR
        lines.append(f'start={start}, size={size}, type={each.type}, uuid={each.id}, name="{each.name}"')
    return "\n".join(lines) + "\n"


def boot_sector(code: bytes, core_sector: int) -> bytes:
    """GRUB's first sector, told where its core begins; bytes 440 to 512 are the table's own. Pure."""
    patched = bytearray(code[:440])
    struct.pack_into("<Q", patched, 0x5C, core_sector)
    # As grub-bios-setup does for disks that are no floppies: no jump around the check of the drive's number.
    patched[0x66:0x68] = b"\x90\x90"
    return bytes(patched)


def core_image(core: bytes, core_sector: int) -> bytes:
    """GRUB's core, told in its own first sector where the rest of it is. Pure."""
    padded = bytearray(core + b"\0" * (-len(core) % SECTOR))
    struct.pack_into("<QHH", padded, SECTOR - 12, core_sector + 1, len(padded) // SECTOR - 1, 0x820)
    return bytes(padded)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a disk is made of. `tools` is the tree of tools, in which the cell's lies, below /work; `loaders` has GRUB's
    modules, a folder for each way to boot.
    """

    tools: Path
    cell: Path
    loaders: Path
    kernel: Path
    first_stage: bytes
    architecture: str
    epoch: int


def assemble(parts: Parts, target: Path) -> tuple[DiskPartition, ...]:
    """Write the disk. Raises Fault."""
    work = parts.tools / "work"
    inside = "/work"
    environment = {"SOURCE_DATE_EPOCH": str(parts.epoch)}
    shutil.rmtree(work / "grub", ignore_errors=True)
    shutil.copytree(parts.loaders, work / "grub")
    usr = parts.cell / "usr"
    run(
        ["mkfs.erofs", "--quiet", "-zlz4hc,9", f"-T{parts.epoch}", f"-U{identifier('usr')}", f"{inside}/usr.img",
         f"/{usr.relative_to(parts.tools)}"],
        root=parts.tools,
    )  # fmt: skip
    root = _root(parts, work, environment)
    esp = _boot(parts, work, environment)
    partitions = layout(parts.architecture, (work / "usr.img").stat().st_size, -(-root.stat().st_size // MIB))
    last = partitions[-1]
    size = max(LEAST_MIB, last.start + last.size + 1) * MIB
    raw = work / "disk.raw"
    raw.unlink(missing_ok=True)
    with raw.open("wb") as file:
        file.truncate(size)
    run(["sfdisk", "--quiet", f"{inside}/disk.raw"], root=parts.tools, stdin=table(partitions).encode())
    for partition, image in zip(partitions[1:], (esp, work / "usr.img", root), strict=True):
        _lay(image, raw, partition.start * MIB)
    if parts.architecture == "amd64":
        _bios(parts, work, raw, partitions[0], environment)
    shutil.move(raw, target)
    return partitions


def _root(parts: Parts, work: Path, environment: dict[str, str]) -> Path:
    """The root file system without /usr, from a sorted archive: a folder's times would be this machine's."""
    image, tar = work / "root.img", work / "root.tar"
    image.unlink(missing_ok=True)
    run(
        ["tar", "--sort=name", f"--mtime=@{parts.epoch}", "--clamp-mtime", "--numeric-owner", "--xattrs",
         "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime", "--format=pax", "--exclude=./usr/*",
         "-C", str(parts.cell), "-cf", str(tar), "."],
    )  # fmt: skip
    size = max(ROOT_MIB, tar.stat().st_size * 3 // 2 // MIB + 256)
    features = f"hash_seed={identifier('hash')},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(
        ["mke2fs", "-q", "-t", "ext4", "-L", "cell-root", "-U", identifier("root"), "-E", features, "-J", "size=16",
         "-m", "0", "-d", "/work/root.tar", "/work/root.img", f"{size}M"],
        root=parts.tools,
        environment=environment,
    )  # fmt: skip
    tar.unlink()
    return image


def _boot(parts: Parts, work: Path, environment: dict[str, str]) -> Path:
    image, folder = work / "boot.img", work / "boot"
    shutil.rmtree(folder, ignore_errors=True)
    image.unlink(missing_ok=True)
    folder.mkdir()
    shutil.copyfile(parts.kernel, folder / "vmlinuz")
    (folder / "initrd.img").write_bytes(parts.first_stage)
    (folder / "grub.cfg").write_text(_GRUB)
    (folder / "EFI/BOOT").mkdir(parents=True)
    (work / "first.cfg").write_text(_GRUB_FIRST)
    efi, loader = {"amd64": ("x86_64-efi", "BOOTX64.EFI"), "arm64": ("arm64-efi", "BOOTAA64.EFI")}[parts.architecture]
    run(
        ["grub-mkimage", "-O", efi, "-d", f"/work/grub/{efi}", "-p", "/grub", "-c", "/work/first.cfg",
         "-o", f"/work/boot/EFI/BOOT/{loader}", *_GRUB_MODULES, "gzio"],
        root=parts.tools,
        environment=environment,
    )  # fmt: skip
    for path in (folder, *sorted(folder.rglob("*"))):
        os.utime(path, (parts.epoch, parts.epoch))
    with image.open("wb") as file:
        file.truncate(ESP_MIB * MIB)
    run(["mkfs.vfat", "--invariant", "-i", ESP_ID, "-n", "CELL-BOOT", "/work/boot.img"], root=parts.tools)
    names = [f"/work/boot/{path.name}" for path in sorted(folder.iterdir())]
    run(["mcopy", "-s", "-m", "-i", "/work/boot.img", *names, "::/"], root=parts.tools, environment=environment)
    return image


def _bios(parts: Parts, work: Path, raw: Path, partition: DiskPartition, environment: dict[str, str]) -> None:
    run(
        ["grub-mkimage", "-O", "i386-pc", "-d", "/work/grub/i386-pc", "-p", "/grub", "-c", "/work/first.cfg",
         "-o", "/work/core.img", *_GRUB_MODULES, "biosdisk"],
        root=parts.tools,
        environment=environment,
    )  # fmt: skip
    sector = partition.start * MIB // SECTOR
    core = core_image((work / "core.img").read_bytes(), sector)
    if len(core) > partition.size * MIB:
        raise Fault(Kind.BROKEN, "GRUB's core", f"its {len(core)} bytes do not fit into its partition")
    code = (parts.loaders / "i386-pc/boot.img").read_bytes()
    with raw.open("r+b") as file:
        file.write(boot_sector(code, sector))
        file.seek(partition.start * MIB)
        file.write(core)


def _lay(image: Path, raw: Path, offset: int) -> None:
    """Copy what holds data, so that the disk stays as sparse as its parts."""
    zeros = bytes(MIB)
    with image.open("rb") as source, raw.open("r+b") as target:
        while block := source.read(MIB):
            if block != zeros[: len(block)]:
                target.seek(offset)
                target.write(block)
            offset += len(block)
