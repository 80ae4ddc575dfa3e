"""One bake, from packages to a disk with its papers beside it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cellagent.boot.join import AGENT_VERSION
from cellagent.daemon import registries
from cellagent.images import room as images
from cellagent.images.messages import Credentials
from cellwire.faults import Fault, Kind
from hostkit import files, locks
from images import agent_bundle, contents, disk, foreign, initrd, papers, tree
from images.commands import run

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Bake(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `out` is the disk, `same_as` an earlier manifest whose packages are to be had again."""

    out: Path
    work: Path
    architecture: str = "amd64"
    preload: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    same_as: Path | None = None


class Trees(msgspec.Struct, frozen=True, kw_only=True):
    """What a bake begins with: the tools, what boots a disk, the packages as they were unpacked, and the cell with the
    agent inside. What is younger than `begun` was not in a package.
    """

    tools: Path
    booting: Path
    source: Path
    cell: Path
    begun: float
    packages: tuple[papers.Package, ...]


def _prepared(folder: Path, architecture: str, say: Callable[[str], None]) -> Trees:
    if os.geteuid() != 0:
        raise Fault(Kind.DENIED, "bake", "files of an image belong to root", "run it as root")
    if architecture not in contents.KERNELS:
        raise Fault(Kind.INVALID, f"architecture {architecture}", "amd64 and arm64 are known")
    own = _own_architecture()
    if own not in contents.KERNELS:
        raise Fault(Kind.UNSUPPORTED, "bake", f"this machine is {own}", "bake it on one that is amd64 or arm64")
    say("packages of the disk's tools")
    tools = tree.packages(folder, "tools", contents.TOOLS, own, 0)
    booting = tree.packages(folder, "booting", contents.BOOTING[architecture], architecture, 0, configured=False)
    say("packages of the cell")
    native = source = tree.packages(folder, "cell", (*contents.PACKAGES, contents.KERNELS[own]), own, 0)
    if architecture != own:
        wanted = foreign.packages(native, own, architecture)
        source = tree.packages(folder, "unpacked", wanted, architecture, 0, configured=False)
    debian = papers.debian(source)
    work = tools / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    say("agent and settings")
    tree.of_cell(source, tools, work / "cell", architecture, native if source is not native else None)
    packages = (*debian, *_python(work / "cell"))
    begun = min(tree.begun(native), tree.begun(source))
    return Trees(tools=tools, booting=booting, source=source, cell=work / "cell", begun=begun, packages=packages)


def bundle_agent(out: Path, work: Path, architecture: str, say: Callable[[str], None]) -> str:
    """Write the agent's bundle for stock images; its SHA-256. Raises Fault."""
    with _alone(work):
        _, epoch = _commit()
        trees = _prepared(work, architecture, say)
        say("bundle")
        digest = agent_bundle.pack(trees.cell, trees.tools, out, epoch)
        shutil.rmtree(trees.cell.parent)
        return digest


@contextmanager
def _alone(work: Path) -> Generator[None]:
    """One bake at a time in a work folder; the others wait."""
    work.mkdir(parents=True, exist_ok=True)
    with locks.held(work / "lock"):
        yield


def bake(asked: Bake, say: Callable[[str], None]) -> papers.BakeManifest:
    """Bake a disk. Raises Fault."""
    with _alone(asked.work):
        return _baked(asked, say)


def _baked(asked: Bake, say: Callable[[str], None]) -> papers.BakeManifest:
    commit, epoch = _commit()
    trees = _prepared(asked.work, asked.architecture, say)
    cell, packages = trees.cell, trees.packages
    _compare(asked, packages)
    say("container images") if asked.preload else None
    _preload(cell / "var/lib/chinampa/images", asked.preload, asked.mirrors, asked.architecture)
    tree.clamp(cell, min(trees.begun, epoch), epoch)
    kernel, modules = tree.kernel(trees.source), tree.modules_of(cell)
    say("disk")
    first = initrd.first_stage(trees.booting / "usr/bin/busybox", modules, epoch)
    parts = disk.Parts(
        tools=trees.tools,
        cell=cell,
        loaders=trees.booting / "usr/lib/grub",
        kernel=kernel,
        first_stage=first,
        architecture=asked.architecture,
        epoch=epoch,
    )
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    disk.assemble(parts, asked.out)
    shutil.rmtree(cell.parent)
    return _papers(asked, commit, epoch, packages)


def _papers(asked: Bake, commit: str, epoch: int, packages: Sequence[papers.Package]) -> papers.BakeManifest:
    digest, size, data = papers.measured(asked.out)
    manifest = papers.BakeManifest(
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
        before = msgspec.json.decode(asked.same_as.read_bytes(), type=papers.BakeManifest)
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


def _preload(folder: Path, references: Sequence[str], mirrors: Sequence[str], architecture: str) -> None:
    """Have the agent's own code pull container images into a store of its own at `folder`. Raises Fault.

    A cell still asks the registry for a pod's image, with that pod's credentials; layers that are there are not pulled
    again.
    """
    if not references:
        return
    if _MACHINES[architecture] != platform.machine():
        raise Fault(Kind.UNSUPPORTED, f"container images for {architecture}", f"this machine is {platform.machine()}")
    asyncio.run(_pull(folder, references, mirrors))
    (folder / "reserve").unlink(missing_ok=True)  # space on a cell's disk, not on this one


async def _pull(folder: Path, references: Sequence[str], mirrors: Sequence[str]) -> None:
    settings = images.ImageSettings(root=folder, registries=registries(mirrors))
    async with images.running(settings) as room:
        for reference in references:
            await room.puller.pull(reference, Credentials())
        # A layer that is not known to be on the disk is dropped by a cell, whose boot is another.
        await asyncio.to_thread(files.sync_filesystem, folder)
        room.store.settle(room.store.unsettled())
