"""The agent's bundle for stock images: one archive with the agent, its Python, crun, conmon, nft and their libraries.

Built from the cell's own tree, it needs of its host a kernel, a shell and iproute2. It lies at one place, since every
program names its loader and its libraries by path: those of the host are never mixed in.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

from images import libraries, tree
from images.commands import run

PREFIX = "opt/chinampa"
PROGRAMS = ("usr/bin/crun", "usr/bin/conmon", "usr/sbin/nft")
# Of the standard library what no agent imports.
_NOT_NEEDED = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "venv", "__phello__")
# Python is no position-independent program, which patchelf breaks. Its loader is told what it says of itself, so that
# children are started by this very script again.
_PYTHON = f"""\
#!/bin/sh
exec /{PREFIX}/lib/{{loader}} --library-path /{PREFIX}/lib --argv0 /{PREFIX}/bin/python3 /{PREFIX}/lib/interpreter "$@"
"""
_LAUNCHER = f"""\
#!/{PREFIX}/bin/python3 -I
import sys

sys.path.insert(0, "/{PREFIX}/agent")
from cellagent.__main__ import main

sys.exit(main())
"""


def pack(cell: Path, tools: Path, out: Path, epoch: int) -> str:
    """Write the bundle of a cell's tree, which lies inside the tree of tools; its SHA-256. Raises Fault."""
    made = cell.parent / "bundle"
    shutil.rmtree(made, ignore_errors=True)
    folder = made / PREFIX
    for inner in ("bin", "lib", "libexec"):
        (folder / inner).mkdir(parents=True)
    python = f"python{tree.PYTHON}"
    run(["cp", "-a", str(cell / "usr/lib" / python), str(folder / "lib" / python)])
    run(["cp", "-a", str(cell / tree.AGENT), str(folder / "agent")])
    for name in _NOT_NEEDED:
        shutil.rmtree(folder / "lib" / python / name, ignore_errors=True)
    loader = _libraries(cell, tools, folder, python)
    for source in PROGRAMS:
        target = folder / "libexec" / Path(source).name
        shutil.copyfile(cell / source, target)
        target.chmod(0o755)
        inside = "/" + str(target.relative_to(tools))
        # The old kind of run path: it also counts for what the loaded libraries need themselves.
        argv = ["patchelf", "--set-interpreter", f"/{PREFIX}/lib/{loader}", "--force-rpath", "--set-rpath"]
        run([*argv, f"/{PREFIX}/lib", inside], root=tools)
    shutil.copyfile(cell / "usr/bin" / python, folder / "lib/interpreter")
    _script(folder / "lib/interpreter")
    _script(folder / "bin/python3", _PYTHON.format(loader=loader))
    _script(folder / "bin/cellagent", _LAUNCHER)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(archive(made, epoch))
    shutil.rmtree(made)
    return run(["sha256sum", str(out)]).decode().split()[0]


def _script(path: Path, text: str = "") -> None:
    if text:
        path.write_text(text)
    path.chmod(0o755)


def _libraries(cell: Path, tools: Path, folder: Path, python: str) -> str:
    """Copy every library that a program or a module of the bundle loads; the loader's name."""
    standard = f"usr/lib/{python}"
    programs = [f"/usr/bin/{python}", *(f"/{each}" for each in PROGRAMS)]
    found = libraries.loaded(tools, cell, [*programs, *tree.modules(cell, standard), *tree.modules(cell, tree.AGENT)])
    for path in found:
        shutil.copyfile((cell / path.lstrip("/")).resolve(), folder / "lib" / Path(path).name)
        (folder / "lib" / Path(path).name).chmod(0o755)
    return next(Path(path).name for path in found if Path(path).name.startswith("ld-linux"))


def archive(folder: Path, epoch: int) -> bytes:
    """A sorted archive whose times and owners are the same in each bake."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = epoch
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=plain)
    return gzip.compress(buffer.getvalue(), 6, mtime=0)
