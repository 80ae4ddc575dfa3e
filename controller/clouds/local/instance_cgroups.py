"""The size of instances: one group per instance in every cgroup hierarchy of this machine, v1, v2 or both.

    <hierarchy>/<parent>/chinampa-<cluster>/<instance>        the limits; root of the instance's cgroup namespace
    <hierarchy>/<parent>/chinampa-<cluster>/<instance>/init   its processes
    <hierarchy>/<parent>/chinampa-<cluster>/layers-<n>/init   who brings layers that instances share

Inside, the instance's own path reads "/init" and its hierarchies begin at its group, so that an agent makes "/pods"
beside it. All hierarchies take part, also those without a limit: what an instance makes stays below its own group.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.local.inside.boot_plan import CgroupMount
from hostkit import cgroup_files, mountinfo

LAYERS = "layers-"
_LONGEST_PAUSE = 0.01
_PERIOD_US = 100_000
_PIDS = 16_384
_WANTED = ("cpuset", "cpu", "io", "memory", "pids")
_NEEDED = ("+cpu", "+memory")
_FLAGS = frozenset(("rw", "ro", "relatime", "clone_children", "xattr", "nsdelegate", "favordynmods"))


class Hierarchy(msgspec.Struct, frozen=True):
    """One mounted hierarchy: `names` are its v1 controllers ("name=systemd" too); empty for v2."""

    mount: Path
    unified: bool
    names: tuple[str, ...] = ()


def hierarchies(mounts: Sequence[mountinfo.Mount]) -> tuple[Hierarchy, ...]:
    """All that are mounted, each once. Pure."""
    found: dict[tuple[str, ...], Hierarchy] = {}
    for mount in mounts:
        if mount.kind == "cgroup2":
            found.setdefault(("",), Hierarchy(Path(mount.point), unified=True))
        elif mount.kind == "cgroup":
            names = tuple(
                option
                for option in mount.options
                if option not in _FLAGS and (option.startswith("name=") or "=" not in option)
            )
            found.setdefault(names, Hierarchy(Path(mount.point), unified=False, names=names))
    return tuple(found.values())


class Groups:
    """The groups of one cluster's instances."""

    def __init__(self, cluster: str, parent: str = "") -> None:
        self._all = hierarchies(mountinfo.own())
        self._name = f"chinampa-{cluster}"
        self._parent = parent.strip("/")

    def of(self, instance: str = "") -> list[Path]:
        """The instance's group in every hierarchy, or the cluster's."""
        return [self._cluster(hierarchy) / instance for hierarchy in self._all]

    def prepare(self) -> None:
        """Make the cluster's own group and let v2 controllers reach through it. Raises Fault UNSUPPORTED."""
        for hierarchy in self._all:
            group = self._cluster(hierarchy)
            try:
                _make(group, hierarchy)
                if hierarchy.unified:
                    for level in reversed([group, *_up_to(group, hierarchy.mount)]):
                        _pass_down(level)
            except OSError as error:
                raise Fault(
                    Kind.UNSUPPORTED,
                    f"cgroup {group}",
                    str(error),
                    "set cgroup_parent to a group that is delegated to the controller",
                ) from error

    def create(self, instance: str, *, memory_mib: int) -> None:
        """Make the instance's groups with the memory size; the CPU size is set apart."""
        for hierarchy in self._all:
            group = self._cluster(hierarchy) / instance
            _make(group, hierarchy)
            _make(group / "init", hierarchy)
            size = str(memory_mib * 1024 * 1024)
            if "memory" in hierarchy.names:
                cgroup_files.write(group / "memory.limit_in_bytes", size)
                cgroup_files.try_to_write(group / "memory.memsw.limit_in_bytes", size)
            if "pids" in hierarchy.names or hierarchy.unified:
                cgroup_files.try_to_write(group / "pids.max", str(_PIDS))
            if hierarchy.unified and (group / "memory.max").exists():
                cgroup_files.write(group / "memory.max", size)
                cgroup_files.try_to_write(group / "memory.swap.max", "0")

    def limit_cpu(self, instance: str, millis: int) -> None:
        """Enforce the CPU size from now on. An instance that is gone is no error."""
        quota = millis * _PERIOD_US // 1000
        for hierarchy in self._all:
            group = self._cluster(hierarchy) / instance
            with contextlib.suppress(FileNotFoundError):
                if "cpu" in hierarchy.names:
                    _ease(group, quota)
                    cgroup_files.write(group / "cpu.cfs_period_us", str(_PERIOD_US))
                    cgroup_files.write(group / "cpu.cfs_quota_us", str(quota))
                elif hierarchy.unified and (group / "cpu.max").exists():
                    cgroup_files.write(group / "cpu.max", f"{quota} {_PERIOD_US}")

    def delegation(self, instance: str) -> dict[str, str]:
        """What the first process writes to v2 subtree_control files once it has left the group itself."""
        return {
            str(group): wanted
            for hierarchy in self._all
            if hierarchy.unified and (wanted := _wanted(group := self._cluster(hierarchy) / instance))
        }

    def mounts(self) -> list[CgroupMount]:
        """The hierarchies as an instance mounts them for itself."""
        entries: list[CgroupMount] = []
        for hierarchy in self._all:
            if hierarchy.unified:
                pure = len(self._all) == 1
                entries.append({"target": "" if pure else hierarchy.mount.name, "kind": "cgroup2", "options": ""})
            else:
                named = all(name.startswith("name=") for name in hierarchy.names)
                options = ",".join((("none",) if named else ()) + hierarchy.names)
                entries.append({"target": hierarchy.mount.name, "kind": "cgroup", "options": options})
        return entries

    def instances(self) -> set[str]:
        """The instances that have a group, be they known or not."""
        return {name for name in self._named() if not name.startswith(LAYERS)}

    def bringers(self) -> set[str]:
        """The groups of those who bring shared layers."""
        return {name for name in self._named() if name.startswith(LAYERS)}

    def folders(self, instance: str = "") -> list[Path]:
        """All groups of an instance, or of the cluster, the innermost first."""
        return [group for top in self.of(instance) for group in cgroup_files.groups(top)]

    def pids(self, instance: str = "") -> set[int]:
        """All processes in an instance's groups, or in the cluster's."""
        return cgroup_files.pids(self.of(instance))

    def kill(self, instance: str) -> set[int]:
        """Kill all processes in the instance's groups; gives those that were there. To be repeated until none is."""
        return cgroup_files.kill(self.of(instance))

    def remove(self, instance: str = "") -> list[Path]:
        """Remove the empty groups of an instance, or of the cluster; gives those that still hold something."""
        return cgroup_files.remove(self.of(instance))

    def _cluster(self, hierarchy: Hierarchy) -> Path:
        return hierarchy.mount / self._parent / self._name

    def _named(self) -> set[str]:
        found: set[str] = set()
        for hierarchy in self._all:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.update(entry.name for entry in self._cluster(hierarchy).iterdir() if entry.is_dir())
        return found


async def until_none(step: Callable[[], Collection[object]]) -> None:
    """Repeat `step` until it finds nothing: the kernel lets go of the dead a moment later, and tells nobody."""
    pause = 0.002
    while step():
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _make(group: Path, hierarchy: Hierarchy) -> None:
    group.mkdir(parents=True, exist_ok=True)
    if "cpuset" in hierarchy.names:  # empty on v1 until somebody fills them, and then nothing may enter
        for level in reversed([group, *_up_to(group, hierarchy.mount)[:-1]]):
            cgroup_files.fill_cpuset(level)


def _ease(group: Path, quota: int) -> None:
    """Lift the larger quotas of the groups below: version 1 refuses a size that one of them exceeds."""
    for folder in reversed(cgroup_files.groups(group)):
        file = folder / "cpu.cfs_quota_us"
        with contextlib.suppress(FileNotFoundError):
            if int(file.read_text()) * _PERIOD_US > quota * int(file.with_name("cpu.cfs_period_us").read_text()):
                cgroup_files.write(file, "-1")


def _up_to(group: Path, mount: Path) -> list[Path]:
    """The groups above `group`, innermost first, up to the hierarchy's own folder."""
    return [folder for folder in group.parents if folder == mount or mount in folder.parents]


def _wanted(group: Path) -> str:
    """The controllers that this v2 group has and ours are interested in, as subtree_control takes them."""
    available = cgroup_files.text(group / "cgroup.controllers").split()
    return " ".join(f"+{name}" for name in _WANTED if name in available)


def _pass_down(group: Path) -> None:
    enabled = (group / "cgroup.subtree_control").read_text().split()
    for word in _wanted(group).split():
        if word[1:] not in enabled:
            (cgroup_files.write if word in _NEEDED else cgroup_files.try_to_write)(
                group / "cgroup.subtree_control", word
            )
