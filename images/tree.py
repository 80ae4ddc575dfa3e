"""The folders that a disk is made of: the packages' tree, the agent in an environment of its own, our files.

Trees are kept in the work folder under a name made of what is in them; delete the folder to fetch newer packages.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import mountinfo
from images import contents, foreign, libraries
from images.commands import need, run

HERE = Path(__file__).resolve().parents[1]
AGENT = "usr/lib/chinampa"
OURS = ("cellagent", "hostkit", "proto/cellwire")
_KEPT = frozenset({".py", ".json", ".profile", ".typed"})
# As the wheels of the pinned requirements are named for the suite's Python.
PYTHON = "3.13"
# What mmdebstrap writes before it unpacks the first package.
_FIRST_WRITTEN, _WRITING_SECONDS = "etc/apt/sources.list", 60
_LIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}


def packages(
    work: Path, name: str, wanted: Sequence[str], architecture: str, epoch: int, *, configured: bool = True
) -> Path:
    """A tree with these packages, made by mmdebstrap where it is not there yet. Raises Fault.

    Where it is not `configured`, packages are only unpacked: no program of theirs is run.
    """
    need("mmdebstrap", "chroot")
    hook = contents.NO_FIRST_STAGE if configured else contents.RECORD
    said = (contents.SUITE, architecture, wanted, contents.NOT_UNPACKED, hook)
    key = hashlib.sha256(repr(said).encode()).hexdigest()[:12]
    tree = work / f"{name}-{architecture}-{key}"
    if tree.exists():
        return tree
    making = tree.with_suffix(".new")
    clear(making)
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in contents.NOT_UNPACKED]
    run(
        [
            "mmdebstrap",
            f"--variant={'essential' if configured else 'extract'}",
            "--mode=root",
            f"--architectures={architecture}",
            f"--include={','.join(wanted)}",
            f"--{'essential' if configured else 'extract'}-hook={hook}",
            *options,
            contents.SUITE,
            str(making),
        ],
        environment={"SOURCE_DATE_EPOCH": str(epoch)},
    )
    making.rename(tree)
    return tree


def of_cell(source: Path, tools: Path, target: Path, architecture: str, native: Path | None = None) -> None:
    """A cell's tree at `target`, which lies inside the tree of tools: a copy of the packages' tree, with the agent and
    our files, without the rest. Where the source is only unpacked, `native` is one that is configured. Raises Fault.
    """
    shutil.rmtree(target, ignore_errors=True)
    run(["cp", "-a", "--reflink=auto", str(source), str(target)])
    if native is not None:
        foreign.configure(target, native)
    inside = f"/{target.relative_to(tools)}"
    run(["depmod", "--basedir", f"{inside}/usr", modules_of(target).name], root=tools)
    for path in contents.REMOVED:
        _remove(target / path)
    install_agent(target, architecture)
    for file in contents.FILES:
        _write(target / file.path, file.text, file.mode)
    for path, points_to in contents.LINKS.items():
        _remove(target / path)
        (target / path).symlink_to(points_to)
    for unit in contents.MASKED:
        link = target / "etc/systemd/system" / unit
        _remove(link)
        link.symlink_to("/dev/null")
    run(["systemctl", f"--root={inside}", "enable", *contents.ENABLED], root=tools)
    libraries.loaded(tools, target, modules(target, AGENT))
    compile_python(target, tools)


def install_agent(target: Path, architecture: str) -> None:
    """Put the agent and exactly its pinned requirements into a folder of their own. Raises Fault."""
    folder = target / AGENT
    folder.mkdir(parents=True)
    machine = _PLATFORMS[architecture]
    platforms = [f"--platform={libc}_{machine}" for libc in _LIBC]
    run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--require-hashes",
            "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}",
            *platforms, f"--target={folder}", "--requirement", str(HERE / "requirements/agent.txt"),
        ],
        environment=with_pip(),
    )  # fmt: skip
    for name in OURS:
        for path in sorted((HERE / name).rglob("*")):
            if path.suffix in _KEPT and path.is_file():
                inside = folder / path.relative_to(HERE / name.rpartition("/")[0])
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, inside)
                inside.chmod(0o644)
    for leftover in (*folder.rglob("tests"), *folder.glob("bin")):
        shutil.rmtree(leftover)
    for record in folder.glob("*.dist-info/RECORD"):
        record.unlink()  # it has hashes of programs that name this very checkout


def with_pip() -> dict[str, str]:
    """What a `python -m pip` needs in its environment: nothing, or the wheel that Python brings. Raises Fault.

    A checkout's own environment has none installed.
    """
    if importlib.util.find_spec("pip") is not None:
        return {}
    bundled = importlib.util.find_spec("ensurepip")
    beside = str(Path(bundled.origin).parent / "_bundled") if bundled is not None and bundled.origin else ""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or beside
    wheel = next(Path(folder).glob("pip-*.whl"), None) if folder else None
    if wheel is None:
        raise Fault(Kind.UNSUPPORTED, "pip", "this Python brings none", "install Debian's package python3-venv")
    return {"PYTHONPATH": str(wheel)}


def modules(tree: Path, folder: str) -> tuple[str, ...]:
    """Python's compiled modules below a folder of a tree, as paths inside it."""
    return tuple(sorted(f"/{path.relative_to(tree)}" for path in (tree / folder).rglob("*.so")))


def compile_python(target: Path, tools: Path) -> None:
    """Compile what Python is in the tree anew: checked by hash of nothing, since /usr cannot change.

    By the tools' Python, which is of the same version: the tree's own may be of another architecture.
    """
    for cache in [*target.glob("usr/lib/python3*/**/__pycache__"), *(target / AGENT).rglob("__pycache__")]:
        shutil.rmtree(cache, ignore_errors=True)
    inside = f"/{target.relative_to(tools)}"
    folders = [f"{inside}/{AGENT}", f"{inside}/usr/lib/python{PYTHON}"]
    # One process with a steady hash seed: what marshal writes depends on the order of the work.
    argv = [f"python{PYTHON}", "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    run([*argv, "-s", inside, "-p", "/", *folders], root=tools, environment={"PYTHONHASHSEED": "0"})


def begun(tree: Path) -> float:
    """When a tree of packages was begun: what is younger was made by scripts, what packages have is older."""
    return (tree / _FIRST_WRITTEN).stat().st_mtime - _WRITING_SECONDS


def clamp(tree: Path, since: float, epoch: int) -> None:
    """Date all that is younger than `since` at the commit that is baked: when a tree was made shows nowhere."""
    for folder, names, files in os.walk(tree):
        for name in (*names, *files, "."):
            path = Path(folder, name)
            if path.lstat().st_mtime > since:
                os.utime(path, (epoch, epoch), follow_symlinks=False)


def kernel(tree: Path) -> Path:
    """The kernel. Raises Fault BROKEN unless there is exactly one."""
    return _only(tree / "boot", "vmlinuz-*")


def modules_of(tree: Path) -> Path:
    """The folder of the kernel's modules. Raises Fault BROKEN unless there is exactly one."""
    return _only(tree / "usr/lib/modules", "*")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise Fault(Kind.BROKEN, f"tree {folder}", f"it has {len(found)} of {pattern}, one is needed")
    return found[0]


def clear(folder: Path) -> None:
    """Remove what an interrupted bake left, in which /proc may still be mounted. Raises Fault BROKEN."""
    for point in mountinfo.below(folder.resolve(), mountinfo.own()):
        run(["umount", "--lazy", str(point)])
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Fault(Kind.BROKEN, f"tree {folder}", str(error), "remove it") from error


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
