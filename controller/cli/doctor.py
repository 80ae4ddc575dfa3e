"""chinampa doctor: what this machine has and lacks for local cells, or an account for cells on EC2, and the mend."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from controller.cli.asking import config_option, settings_of
from controller.model.finding import Finding, Verdict
from hostkit import cgroup_files

CGROUPS = Path("/sys/fs/cgroup")
# With less nothing is sure to be written; with less than the other it is not so for long.
FULL_MIB = 16
NEARLY_FULL_MIB = 1024
_COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.LACKS: "red"}


def findings(state: Path) -> Iterator[Finding]:
    """Each finding as it is made, of this machine and of the state folder's disk."""
    refused = Finding(Verdict.LACKS, "root", "run as root: cells are namespaces and mounts")
    yield Finding(Verdict.OK, "root") if os.geteuid() == 0 else refused
    for program, package, needed in (
        ("conmon", "conmon", True),
        ("ip", "iproute2", True),
        ("nsenter", "util-linux", True),
        ("openssl", "openssl", True),
        ("nft", "nftables", False),
        ("kubectl", "kubectl or kubernetes-client", False),
        ("docker-registry", "docker-registry", False),
    ):
        path = shutil.which(program)
        missing = Verdict.LACKS if needed else Verdict.NOTE
        lacking = Finding(missing, program, f"install Debian's package {package}")
        yield Finding(Verdict.OK, program, path) if path else lacking
    yield from _oci_runtime()
    yield _overlay()
    yield _room(state)


def _oci_runtime() -> Iterator[Finding]:
    unified = CGROUPS / "unified" / "cgroup.controllers"
    held = unified.read_text() if unified.exists() else None
    v2 = (CGROUPS / "cgroup.controllers").exists()
    layout = "version 2" if v2 else ("version 1" if held is None else "version 1 beside version 2")
    yield Finding(Verdict.OK, "control groups", layout)
    kept = cgroup_files.beside_version_1(
        Path("/proc/mounts").read_text(), held or "", Path("/proc/cgroups").read_text()
    )
    yield oci_runtime(shutil.which("crun"), shutil.which("runc"), kept)


def oci_runtime(crun: str | None, runc: str | None, kept: str) -> Finding:
    """From the programs' paths and what version 2 keeps beside version 1. Pure."""
    if crun and not kept:
        return Finding(Verdict.OK, "OCI runtime", crun)
    if runc:
        why = f"crun refuses: version 2 holds {kept} beside version 1" if crun else "crun is not installed"
        return Finding(Verdict.NOTE, "OCI runtime", f"{runc}; {why}")
    return Finding(Verdict.LACKS, "OCI runtime", f"install Debian's package {'runc' if crun else 'crun'}")


def _room(state: Path) -> Finding:
    there = next(one for one in (state.absolute(), *state.absolute().parents) if one.exists())
    return room(state, shutil.disk_usage(there).free >> 20)


def room(state: Path, free: int) -> Finding:
    """From the MiB that are free for the state folder: records, keys and copies of logs are written there. Pure."""
    said = f"{free} MiB free for {state}"
    if free >= NEARLY_FULL_MIB:
        return Finding(Verdict.OK, "disk", said)
    if free >= FULL_MIB:
        return Finding(Verdict.NOTE, "disk", said, "make room before it is full")
    return Finding(Verdict.LACKS, "disk", f"{said}: changes are refused and logs wait", "make room on it")


def _overlay() -> Finding:
    modules = Path("/lib/modules", os.uname().release, "modules.dep")
    known = Path("/proc/filesystems").read_text()
    return overlay(known, modules.read_text() if modules.exists() else "")


def overlay(known: str, modules: str) -> Finding:
    """From the texts of /proc/filesystems and modules.dep: a module is loaded with the first mount. Pure."""
    if "\toverlay\n" in known:
        return Finding(Verdict.OK, "overlayfs")
    if "/overlay.ko" in modules:
        return Finding(Verdict.OK, "overlayfs", "a module, which the first mount loads")
    return Finding(Verdict.LACKS, "overlayfs", "this kernel has no overlayfs: boot one that has it")


class FindingsPrinter:
    """Prints findings as they come, their things in `width` columns; `end` exits with 1 where something is lacking."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lacking = 0

    def print(self, found: Finding) -> None:
        """One line."""
        self._lacking += found.verdict is Verdict.LACKS
        verdict = click.style(found.verdict.ljust(6), fg=_COLOURS[found.verdict])
        words = "; ".join(filter(None, (found.cause, found.mend)))
        click.echo(f"{verdict} {found.thing:<{self._width}} {words}".rstrip())

    def end(self) -> None:
        """Say how many things are lacking."""
        if self._lacking:
            click.echo(f"\n{self._lacking} thing(s) are lacking.", err=True)
            sys.exit(1)


@click.command("doctor")
@config_option
@click.option("--cloud", is_flag=True, help="Look at the AWS account of the config file instead of this machine.")
def command(config_path: Path | None, *, cloud: bool) -> None:
    """Say what this machine, or the cloud's account, has and lacks, and the mend."""
    printer = FindingsPrinter(34 if cloud else 16)
    settings = settings_of(config_path)  # a file that cannot be read is a finding of its own
    if cloud:
        from controller.cli import doctor_cloud  # noqa: PLC0415 # it weighs more than all of the rest

        doctor_cloud.examine(settings, printer.print)
    else:
        for found in findings(settings.state):
            printer.print(found)
    printer.end()
