"""chinampa worker: this machine as a node whose pods are in cells; `init` writes what that needs, `check` says what is
wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceStub
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from controller.cli.asking import config_option, settings_of
from controller.cli.doctor import FindingsPrinter
from controller.cluster import client, kubeconfig
from controller.cluster.room import node_name
from controller.config import Settings
from controller.worker import checking, units
from controller.worker.checking import Found
from controller.worker.units import UnitFile
from hostkit import programs


@click.group("worker")
def command() -> None:
    """This machine as a node of a Kubernetes cluster whose pods are in cells."""


@command.command("init")
@config_option
@click.option("--to", type=click.Path(path_type=Path), default=Path("/"), help="Write below this folder, not below /.")
def init(config_path: Path | None, to: Path) -> None:
    """Write the kubelet's configuration, its start with the capacity of `[worker]`, and systemd's units."""
    settings = settings_of(config_path)
    made = _files(settings)
    for name, one in made.items():
        _write(to / name.lstrip("/"), one)
    shown = [name for name in made if not name.startswith(f"{units.CAPACITY}/")]
    click.echo("\n".join(f"wrote {to / name.lstrip('/')}" for name in shown))
    click.echo(f"wrote {to / units.CAPACITY.lstrip('/')}: {settings.worker.cpu} CPUs, {settings.worker.memory_gib} GiB")
    if to == Path("/"):
        started = [_runtime_unit(settings), *([units.AGENT_UNIT] if settings.shim.worker else []), units.KUBELET_UNIT]
        click.echo(f"now: systemctl daemon-reload && systemctl enable --now {' '.join(started)}")


@command.command("check")
@config_option
def check(config_path: Path | None) -> None:
    """Say what is wrong with this worker, and the mend. The exit code is 1 where anything is."""
    settings = settings_of(config_path)
    found = asyncio.run(_found(settings))
    printer = FindingsPrinter(28)
    node = node_name(settings.kubernetes)
    for each in checking.findings(settings.worker, settings.shim.pods_folder, node, found):
        printer.print(each)
    printer.end()


def _files(settings: Settings) -> dict[str, UnitFile]:
    if settings.shim.socket is None:
        raise Fault(Kind.INVALID, "shim.socket", "it is not set", "name the socket on which the kubelet is served")
    if settings.kubernetes.kubeconfig is None:
        raise Fault(Kind.INVALID, "kubernetes.kubeconfig", "it is not set", "name the node's own kubeconfig")
    worker = settings.worker
    node = settings.kubernetes.node
    with contextlib.suppress(Fault):  # of a kubelet that has yet to ask for its certificate nothing names the node
        node = node_name(settings.kubernetes)
    around = units.UnitInputs(
        socket=settings.shim.socket,
        runtime=_runtime_unit(settings),
        agent=settings.shim.worker,
        cellagent=shutil.which("cellagent") or "/usr/local/bin/cellagent",
        kubeconfig=settings.kubernetes.kubeconfig,
        node=node,
        domain=settings.services.domain,
        base=_base(worker.base),
        meminfo=Path("/proc/meminfo").read_text(),
        cpuinfo=Path("/proc/cpuinfo").read_text(),
    )
    return units.files(worker, around)


def _runtime_unit(settings: Settings) -> str:
    """What serves the kubelet here: the controller, or a shim with a controller elsewhere."""
    return units.SHIM_UNIT if settings.remote.controllers else units.CONTROLLER_UNIT


def _base(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        found: Any = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise Fault(Kind.INVALID, f"worker.base {path}", str(error)) from error
    if not isinstance(found, dict):
        raise Fault(Kind.INVALID, f"worker.base {path}", "it is no kubelet configuration")
    return found  # type: ignore[return-value]


def _write(path: Path, one: UnitFile) -> None:
    if one.text is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(one.text)
    path.chmod(0o755 if one.program else 0o644)


async def _found(settings: Settings) -> Found:
    made = _files(settings)
    # What is read of this machine changes by itself.
    static = {name: one for name, one in made.items() if not name.endswith(("/meminfo", "/cpuinfo"))}
    refusal, rights, node = await _cluster(settings)
    return Found(
        root=os.geteuid() == 0,
        kubelet_version=await _version(settings.worker.kubelet),
        programs={name: shutil.which(name) or "" for name in ("unshare", "mount")},
        shared_root=_shared(Path("/proc/self/mountinfo").read_text()),
        socket=str(settings.shim.socket or ""),
        runtime=_runtime_unit(settings),
        sandbox_runtime=await _runtime(settings.shim.socket),
        differing=tuple(name for name, one in static.items() if not _same(Path(name), one)),
        refusal=refusal,
        rights=rights,
        node=node,
    )


def _same(path: Path, one: UnitFile) -> bool:
    try:
        return path.is_dir() if one.text is None else path.read_text() == one.text
    except OSError:
        return False


def _shared(mountinfo: str) -> bool:
    """Whether what is mounted below / is seen by whoever left with a table of mounts of its own."""
    rows = [line.split(" ") for line in mountinfo.splitlines()]
    return any(row[4] == "/" and any(word.startswith("shared:") for word in row[6:]) for row in rows)


async def _version(program: Path) -> str:
    try:
        return (await programs.check([str(program), "--version"], deadline=20)).decode()
    except Fault:
        return ""


async def _runtime(socket: Path | None) -> str:
    if socket is None or not socket.exists():
        return ""
    channel = MendedChannel(CELL, path=str(socket))
    try:
        said = await call(RuntimeServiceStub(channel).Version, cri.VersionRequest(), deadline=5)
    except Fault:
        return ""
    finally:
        channel.close()
    return f"{said.runtime_name} {said.runtime_version}"


async def _cluster(settings: Settings) -> tuple[str, dict[tuple[str, str, str], bool], Mapping[str, Any] | None]:
    path = settings.kubernetes.kubeconfig
    if path is None:
        return "kubernetes.kubeconfig is not set", {}, None
    try:
        async with client.connected(kubeconfig.read(path)) as door:
            node = node_name(settings.kubernetes)
            rights = {right: await _may(door, right, node) for right in checking.RIGHTS}
            try:
                return "", rights, await door.get(f"/api/v1/nodes/{node}")
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    raise
                return "", rights, None
    except Fault as fault:
        return str(fault), {}, None


async def _may(door: client.ApiClient, right: tuple[str, str, str], node: str) -> bool:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    said = await door.post(path, checking.review(node, *right))
    return bool((said.get("status") or {}).get("allowed"))
