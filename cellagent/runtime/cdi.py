"""Devices by the Container Device Interface: what a maker's driver says a container needs to use them.

Source: the CDI specification 1.0 (cncf-tags/container-device-interface, SPEC.md). Files lie in two folders, of which
the later goes before the earlier; a name that two files of one folder tell differently is nobody's. Not done: what asks
for another OCI runtime than ours (intelRdt), and network devices.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
_SUFFIXES = frozenset({".json", ".yaml", ".yml"})
_LARGEST = 4 << 20
_NAME = re.compile(r"^(?P<kind>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9_-]*)=(?P<device>[A-Za-z0-9][\w.:-]*)$")
_VERSIONS = re.compile(r"^v?(0\.[3-9]|1\.\d+)\.\d+$")
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class DeviceNode(msgspec.Struct, frozen=True, rename="camel"):
    """A device in the container; what is not said is as on the machine."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = "rw"
    uid: int | None = None
    gid: int | None = None


class CdiMount(msgspec.Struct, frozen=True, rename="camel"):
    """A path of the machine in the container."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = "bind"


class Hook(msgspec.Struct, frozen=True, rename="camel"):
    """A program of the machine that the OCI runtime calls."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Edits(msgspec.Struct, frozen=True, rename="camel"):
    """Edits of a container's spec. What is not honoured is kept to be refused by name."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    intel_rdt: dict[str, Any] | None = None
    net_devices: tuple[dict[str, Any], ...] = ()


class Device(msgspec.Struct, frozen=True, rename="camel"):
    """One device of a specification."""

    name: str
    container_edits: Edits = Edits()


class Specification(msgspec.Struct, frozen=True, rename="camel"):
    """One file."""

    cdi_version: str
    kind: str
    devices: tuple[Device, ...] = ()
    container_edits: Edits = Edits()


def read(path: Path) -> Specification:
    """One file. Raises Fault INVALID."""
    try:
        if path.stat().st_size > _LARGEST:
            raise Fault(Kind.INVALID, f"CDI specification {path}", f"it is larger than {_LARGEST >> 20} MiB")
        text = path.read_bytes()
        found = msgspec.convert(_plain(path, text), Specification)
    except (OSError, ValueError, RecursionError) as error:
        raise Fault(Kind.INVALID, f"CDI specification {path}", " ".join(str(error).split())[:300]) from error
    if not _VERSIONS.fullmatch(found.cdi_version):
        raise Fault(
            Kind.UNSUPPORTED, f"CDI specification {path}", f"its version is {found.cdi_version}, 0.3 to 1 are known"
        )
    return found


def _plain(path: Path, text: bytes) -> object:
    if path.suffix == ".json":
        return msgspec.json.decode(text)
    import yaml  # noqa: PLC0415 # a megabyte that only cells with devices need

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 # a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def find(names: Sequence[str], folders: Iterable[Path] = FOLDERS) -> tuple[Edits, ...]:
    """The edits of these devices, each file's own before those of its devices. Raises Fault for one that is missing."""
    if not names:
        return ()
    shelves: list[dict[str, list[tuple[Specification, Device]]]] = []
    faults: list[str] = []
    for folder in folders:
        shelf: dict[str, list[tuple[Specification, Device]]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix not in _SUFFIXES:
                continue
            try:
                told = read(path)
            except Fault as fault:
                faults.append(str(fault))  # one maker's broken file keeps nobody from another's devices
                continue
            for device in told.devices:
                shelf.setdefault(f"{told.kind}={device.name}", []).append((told, device))
        shelves.insert(0, shelf)
    chosen = [_chosen(name, shelves, faults) for name in dict.fromkeys(names)]
    of_files = {id(told): told.container_edits for told, _ in chosen}
    return (*of_files.values(), *(device.container_edits for _, device in chosen))


def _chosen(
    name: str, shelves: Iterable[Mapping[str, list[tuple[Specification, Device]]]], faults: Sequence[str]
) -> tuple[Specification, Device]:
    thing = f"CDI device {name}"
    if not _NAME.fullmatch(name):
        raise Fault(Kind.INVALID, thing, "a device is called vendor/class=name")
    for shelf in shelves:
        if found := shelf.get(name):
            if len(found) > 1:
                raise Fault(Kind.INVALID, thing, f"{len(found)} specifications of one folder tell of it", "keep one")
            return found[0]
    cause = f"no specification in {' or '.join(map(str, FOLDERS))} of this cell tells of it"
    mend = "use a machine image with the maker's driver and its CDI specification (nvidia-ctk cdi generate)"
    raise Fault(Kind.UNSUPPORTED, thing, "; ".join((cause, *faults)), mend)


def applied(spec: dict[str, Any], edits: Iterable[Edits], *, privileged: bool) -> dict[str, Any]:
    """A container's OCI spec with the edits made. Looks at the machine's devices. Raises Fault."""
    for each in edits:
        spec = _applied(spec, each, privileged=privileged)
    return spec


def _applied(spec: dict[str, Any], edits: Edits, *, privileged: bool) -> dict[str, Any]:
    if edits.intel_rdt or edits.net_devices:
        word = "intelRdt" if edits.intel_rdt else "netDevices"
        raise Fault(Kind.UNSUPPORTED, f"CDI edit {word}", "it is not honoured here")
    process, linux = dict(spec["process"]), dict(spec["linux"])
    process["env"] = _with_env(process.get("env") or [], edits.env)
    user = dict(process.get("user") or {})
    if edits.additional_gids:
        user["additionalGids"] = list(
            dict.fromkeys([*(user.get("additionalGids") or ()), *filter(None, edits.additional_gids)])
        )
        process["user"] = user
    nodes = [(node, _seen(node)) for node in edits.device_nodes]
    paths = {node.path for node, _ in nodes}
    linux["devices"] = [
        *(one for one in linux.get("devices") or () if one["path"] not in paths),
        *(one for _, one in nodes),
    ]
    if not privileged:  # who may open all needs no rule
        resources = dict(linux.get("resources") or {})
        resources["devices"] = [
            *(resources.get("devices") or ()),
            *(_rule(node, one) for node, one in nodes if "major" in one),
        ]
        linux["resources"] = resources
    return {
        **spec,
        "process": process,
        "linux": linux,
        "mounts": _with_mounts(spec["mounts"], edits.mounts),
        **_hooks(spec, edits),
    }


def _with_env(present: Iterable[str], more: Sequence[str]) -> list[str]:
    named = {each.partition("=")[0] for each in more}
    return [*(each for each in present if each.partition("=")[0] not in named), *more]


def _with_mounts(present: Iterable[dict[str, Any]], more: Sequence[CdiMount]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {
            "destination": each.container_path,
            "type": each.type or "bind",
            "source": each.host_path,
            "options": list(each.options) or ["ro", "nosuid", "nodev", "bind"],
        }
        for each in more
    ]
    taken = {each["destination"] for each in made}
    kept = [each for each in present if each["destination"] not in taken]
    # Stable, and whoever lies below another after it, as the others are.
    return sorted([*kept, *made], key=lambda one: one["destination"].rstrip("/").count("/"))


def _hooks(spec: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    if not edits.hooks:
        return {}
    found: dict[str, list[dict[str, Any]]] = {
        name: list(each) for name, each in cast("dict[str, list[dict[str, Any]]]", spec.get("hooks") or {}).items()
    }
    for hook in edits.hooks:
        if hook.hook_name not in _HOOKS:
            raise Fault(Kind.UNSUPPORTED, f"CDI hook {hook.hook_name}", f"known are {', '.join(_HOOKS)}")
        made: dict[str, Any] = {"path": hook.path, "args": list(hook.args), "env": list(hook.env)}
        if hook.timeout is not None:
            made["timeout"] = hook.timeout
        found.setdefault(hook.hook_name, []).append(made)
    return {"hooks": found}


def _seen(node: DeviceNode) -> dict[str, Any]:
    """The device as the OCI runtime makes it: what the specification does not say is looked at."""
    path = node.host_path or node.path
    kind, major, minor = node.type, node.major, node.minor
    found: dict[str, Any] = {"path": node.path}
    if not kind or (kind != "p" and (major is None or minor is None)):
        try:
            seen = os.stat(path)
        except OSError as error:
            raise Fault(Kind.INVALID, f"CDI device node {path}", str(error.strerror)) from error
        its = (
            "c"
            if stat.S_ISCHR(seen.st_mode)
            else "b"
            if stat.S_ISBLK(seen.st_mode)
            else "p"
            if stat.S_ISFIFO(seen.st_mode)
            else ""
        )
        if not its or kind not in {"", "u" if its == "c" else its, its}:
            raise Fault(Kind.INVALID, f"CDI device node {path}", f"it is no device of type {kind or 'c, b or p'}")
        kind, major, minor = its, os.major(seen.st_rdev), os.minor(seen.st_rdev)
        found |= {"fileMode": stat.S_IMODE(seen.st_mode), "uid": seen.st_uid, "gid": seen.st_gid}
    found["type"] = kind
    if kind != "p":
        found |= {"major": major, "minor": minor}
    said = {"fileMode": node.file_mode, "uid": node.uid, "gid": node.gid}
    return {**found, **{key: value for key, value in said.items() if value is not None}}


def _rule(node: DeviceNode, seen: Mapping[str, Any]) -> dict[str, Any]:
    kind = "b" if seen["type"] == "b" else "c"
    access = node.permissions or "rw"
    return {"allow": True, "type": kind, "major": seen["major"], "minor": seen["minor"], "access": access}
