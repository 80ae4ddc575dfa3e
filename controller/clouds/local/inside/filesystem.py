"""The file system that an instance sees: this machine's own, read-only, with private places to write.

A new root is built beside the old one and taken by pivot_root, so that nothing else which is mounted on this machine
(other instances, pods, namespaces) is seen or held from inside. /etc is an overlay, /dev has the harmless devices
only, cgroups begin at the instance's own group. Standard library only.
"""

from __future__ import annotations

import os
import stat

from hostkit import syscalls
from hostkit.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from controller.clouds.local.inside.boot_plan import BootPlan

# Folders kept on the instance's disk, by where they are seen.
ON_DISK = {"/tmp": "tmp", "/var/tmp": "var-tmp", "/var/log": "log", "/var/lib/chinampa": "chinampa"}
# Where the agent looks for layers that it need not pull.
SHARED = "/var/lib/chinampa/shared"
_OWN = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var")
_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "ptmx": (5, 2),
    "net/tun": (10, 200),
    "fuse": (10, 229),
}
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


def enter(plan: BootPlan) -> None:
    """Build the new root and make it this process's own. Needs a mount namespace of its own, and a PID namespace."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = plan["root"]
    _disks(root, plan["disks"])
    _private(root, plan["disk"])
    if plan["shared"]:
        _folder(root + SHARED, 0o755)
        _bind_readonly(plan["shared"], root + SHARED)
    _bring_back(root, plan["visible"])
    _etc(root, plan)
    syscalls.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    syscalls.mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _cgroups(root, plan)
    _devices(root)
    syscalls.pivot_root(root)


def _disks(root: str, disks: list[str]) -> None:
    _bind_readonly("/", root)
    for target in disks:
        if target != "/" and not _below(target, _OWN) and os.path.isdir(root + target):  # noqa: PTH112
            _bind_readonly(target, root + target)


def _private(root: str, disk: str) -> None:
    for target, folder in ON_DISK.items():
        _folder(f"{disk}/{folder}", 0o1777 if target.endswith("tmp") else 0o755)
        syscalls.mount(f"{disk}/{folder}", root + target, flags=MS_BIND)
    syscalls.mount("tmpfs", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    _folder(f"{root}/run/lock", 0o1777)


def _bring_back(root: str, visible: list[str]) -> None:
    """What must be seen of this machine although it lies below a private folder, or on a tmpfs."""
    for path in visible:
        if os.path.lexists(root + path) or not os.path.isdir(path):  # noqa: PTH112
            continue
        os.makedirs(root + path, exist_ok=True)  # noqa: PTH103
        _bind_readonly(path, root + path)


def _etc(root: str, plan: BootPlan) -> None:
    # Above on /run's tmpfs, not on the disk, which may itself be an overlay where this machine is a container.
    upper, work = f"{root}/run/.etc/upper", f"{root}/run/.etc/work"
    _folder(upper, 0o755)
    _folder(work, 0o755)
    for name, text in plan["files"].items():
        with open(f"{upper}/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    syscalls.mount("overlay", f"{root}/etc", "overlay", options=f"lowerdir=/etc,upperdir={upper},workdir={work}")


def _cgroups(root: str, plan: BootPlan) -> None:
    base = f"{root}/sys/fs/cgroup"
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if all(entry["target"] != "" for entry in plan["cgroup_mounts"]):
        syscalls.mount("tmpfs", base, "tmpfs", flags, "mode=755,size=1m")
    for entry in plan["cgroup_mounts"]:
        target = f"{base}/{entry['target']}".rstrip("/")
        if entry["target"]:
            _folder(target, 0o755)
        syscalls.mount("cgroup", target, entry["kind"], flags, entry["options"])
        for name in entry["target"].split(","):
            if name != entry["target"]:
                os.symlink(entry["target"], f"{base}/{name}")  # noqa: PTH211


def _devices(root: str) -> None:
    dev = f"{root}/dev"
    syscalls.mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=1m")
    for name in ("pts", "shm", "mqueue", "net"):
        _folder(f"{dev}/{name}", 0o755)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{dev}/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)  # noqa: PTH101, S103 - a device node, as everywhere
    for name, target in _LINKS.items():
        os.symlink(target, f"{dev}/{name}")  # noqa: PTH211
    syscalls.mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    syscalls.mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    syscalls.mount("mqueue", f"{dev}/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _bind_readonly(source: str, target: str) -> None:
    syscalls.mount(source, target, flags=MS_BIND)
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    syscalls.mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _folder(path: str, mode: int) -> None:
    os.makedirs(path, exist_ok=True)  # noqa: PTH103
    os.chmod(path, mode)  # noqa: PTH101


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)
