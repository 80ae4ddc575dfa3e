"""One bake, from packages to a disk with its papers beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from cellagent.boot.join import AGENT_VERSION
from cellwire.faults import Fault, Kind
from images import contents, disk, initrd, papers, preload, tree
from images.programs import run


class Bake(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `out` is the disk, `same_as` an earlier manifest whose packages are to be had again."""

    out: Path
    work: Path
    architecture: str = "amd64"
    preload: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    same_as: Path | None = None


def bake(asked: Bake, say: Callable[[str], None]) -> papers.Manifest:
    """Bake a disk. Raises Fault."""
    if os.geteuid() != 0:
        raise Fault(Kind.DENIED, "bake", "files of an image belong to root", "run it as root")
    if asked.architecture not in contents.KERNELS:
        raise Fault(Kind.INVALID, f"architecture {asked.architecture}", "amd64 and arm64 are known")
    asked.work.mkdir(parents=True, exist_ok=True)
    commit, epoch = _commit()
    say("packages of the disk's tools")
    tools = tree.packages(asked.work, "tools", contents.TOOLS, _own_architecture(), 0)
    say("packages of the cell")
    wanted = (*contents.PACKAGES, contents.KERNELS[asked.architecture])
    source = tree.packages(asked.work, "cell", wanted, asked.architecture, 0)
    debian = papers.debian(source)
    work = tools / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    say("agent and settings")
    cell = work / "cell"
    tree.of_cell(source, cell, asked.architecture)
    packages = (*debian, *_python(cell))
    _compare(asked, packages)
    say("container images") if asked.preload else None
    preload.into(cell / "var/lib/chinampa/images", asked.preload, asked.mirrors, asked.architecture)
    tree.clamp(cell, epoch)
    kernel, modules = tree.kernel(source)
    say("disk")
    first = initrd.first_stage(tools / "usr/bin/busybox", modules, epoch)
    parts = disk.Parts(
        tools=tools, cell=cell, kernel=kernel, first_stage=first, architecture=asked.architecture, epoch=epoch
    )
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    disk.assemble(parts, asked.out)
    shutil.rmtree(work)
    return _papers(asked, commit, epoch, packages)


def _papers(asked: Bake, commit: str, epoch: int, packages: Sequence[papers.Package]) -> papers.Manifest:
    digest, size, data = papers.measured(asked.out)
    manifest = papers.Manifest(
        commit=commit,
        architecture=asked.architecture,
        epoch=epoch,
        agent=AGENT_VERSION,
        disk_sha256=digest,
        disk_bytes=size,
        data_bytes=data,
        preloaded=asked.preload,
        packages=tuple(packages),
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    asked.out.with_suffix(".manifest.json").write_bytes(encoded)
    asked.out.with_suffix(".spdx.json").write_bytes(papers.spdx(manifest))
    return manifest


def _compare(asked: Bake, packages: Sequence[papers.Package]) -> None:
    if asked.same_as is None:
        return
    try:
        before = msgspec.json.decode(asked.same_as.read_bytes(), type=papers.Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise Fault(Kind.INVALID, f"manifest {asked.same_as}", str(error)) from error
    if lines := papers.differences(before, packages):
        raise Fault(Kind.INVALID, f"packages as in {asked.same_as}", "; ".join(lines[:20]))


def _python(cell: Path) -> tuple[papers.Package, ...]:
    names = [path.name.partition("-")[0] for path in (cell / tree.AGENT).glob("*.dist-info")]
    return papers.python((tree.HERE / "requirements/agent.txt").read_text(), names)


def _commit() -> tuple[str, int]:
    """The commit that is baked and its time; SOURCE_DATE_EPOCH goes before it."""
    commit, _, when = run(["git", "-C", str(tree.HERE), "log", "-1", "--format=%H %ct"]).decode().strip().partition(" ")
    return commit, int(os.environ.get("SOURCE_DATE_EPOCH", when))


def _own_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
