"""The first stage: a cpio archive (newc) with a shell, a few modules, and a script that mounts the two file systems.

A tenth of what initramfs-tools makes, and equal for equal inputs.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from images.contents import MODULES

# Partitions are known by the names that the disk's table gives them; the kernel tells each in its uevent. What a cloud
# attaches later comes too late to be mistaken for ours.
_INIT = """\
#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules); do insmod "/$module" 2>/dev/null; done
lost() { echo "cell: $1; powering off" >/dev/console; poweroff -f; }
part() { for each in $(grep -lx "PARTNAME=$1" /sys/class/block/*/uevent 2>/dev/null); do
    each=${each%/uevent}; echo "/dev/${each##*/}"; return; done; }
tries=0
until [ -n "$(part cell-usr)" ] && [ -n "$(part cell-root)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || lost "this disk's partitions are not to be found"
    usleep 10000
done
mount -t ext4 -o rw,relatime "$(part cell-root)" /root &&
    mount -t erofs -o ro "$(part cell-usr)" /root/usr ||
    lost "the file systems cannot be mounted"
mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /sbin/init
"""


class CpioEntry(msgspec.Struct, frozen=True):
    """One member of the archive. `device` is major and minor of a character device."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def archive(entries: Iterable[CpioEntry], epoch: int) -> bytes:
    """The entries as newc, in their order. Pure."""
    parts: list[bytes] = []
    for number, entry in enumerate((*entries, CpioEntry("TRAILER!!!", 0)), start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if entry.mode & 0o170000 == 0o040000 else 1
        fields = (number, entry.mode, 0, 0, links, epoch, len(entry.data), 0, 0, *entry.device, len(name), 0)
        head = b"070701" + b"".join(f"{field:08X}".encode() for field in fields) + name
        parts += [head, b"\0" * (-len(head) % 4), entry.data, b"\0" * (-len(entry.data) % 4)]
    return b"".join(parts)


def in_order(wanted: Sequence[str], dependencies: str, builtin: str) -> tuple[str, ...]:
    """Paths of the wanted modules and of what they need, each after what it needs. Pure.

    From the texts of modules.dep and modules.builtin. Raises Fault INVALID for a module that the kernel lacks.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    names = {_name(path): path for path in needs}
    there = {_name(path) for path in builtin.splitlines()}
    found: dict[str, None] = {}
    for module in wanted:
        name = module.replace("-", "_")
        if name in there:
            continue
        if name not in names:
            raise Fault(Kind.INVALID, f"module {module}", "this kernel has none of that name")
        # modules.dep lists what is needed from the nearest to the farthest.
        found |= dict.fromkeys((*reversed(needs[names[name]]), names[name]))
    return tuple(found)


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def first_stage(busybox: Path, modules: Path, epoch: int) -> bytes:
    """The compressed archive for the kernel whose modules are in this folder. Raises Fault."""
    texts = ((modules / name).read_text() for name in ("modules.dep", "modules.builtin"))
    chosen = in_order(MODULES, *texts)
    folders = ("bin", "dev", "lib", "proc", "root", "sys")
    shell = CpioEntry("bin/busybox", 0o100755, busybox.read_bytes())
    applets = ("sh", "cat", "grep", "insmod", "mount", "poweroff", "switch_root", "usleep")
    entries = [
        *(CpioEntry(folder, 0o040755) for folder in folders),
        CpioEntry("dev/console", 0o020600, device=(5, 1)),
        shell,
        *(CpioEntry(f"bin/{applet}", 0o120777, b"busybox") for applet in applets),
        *(CpioEntry(f"lib/{_name(path)}.ko", 0o100644, _plain(modules / path)) for path in chosen),
        CpioEntry("modules", 0o100644, "".join(f"lib/{_name(path)}.ko\n" for path in chosen).encode()),
        CpioEntry("init", 0o100755, _INIT.encode()),
    ]
    return gzip.compress(archive(entries, epoch), 9, mtime=0)


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
