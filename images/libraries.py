"""Which libraries the programs of a tree load, as their files say: its programs may be such as do not run here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from images.commands import run

# Of each file a line with its own search path, and one with what it needs.
_ASK = """\
set -e
for each; do
    path=$(patchelf --print-rpath "$each") needed=$(patchelf --print-needed "$each")
    echo "$path"
    echo $needed
done
"""


class _Needs(msgspec.Struct, frozen=True):
    path: str
    searched: tuple[str, ...]
    names: tuple[str, ...]


def loaded(tools: Path, tree: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Every library that these programs and modules of a tree load, as paths inside it; the tree lies inside that of
    the tools. Raises Fault BROKEN for one that it lacks.

    Some modules only warn and go on more slowly without theirs, which nobody would see.
    """
    usual = ("/usr/lib", *(f"/usr/lib/{each.name}" for each in sorted(tree.glob("usr/lib/*-linux-gnu"))))
    found: dict[str, None] = {}
    asked = list(paths)
    while asked:
        new: dict[str, None] = {}
        for one in _needs(tools, tree, asked):
            for name in one.names:
                where = (f"{folder}/{name}" for folder in (*one.searched, *usual))
                path = next((each for each in where if (tree / each.lstrip("/")).exists()), "")
                if not path:
                    cause = f"the tree has no {name}"
                    raise Fault(Kind.BROKEN, one.path, cause, "add the package that has it")
                if path not in found:
                    found[path] = new[path] = None
        asked = list(new)
    return tuple(sorted(found))


def _needs(tools: Path, tree: Path, paths: Sequence[str]) -> list[_Needs]:
    inside = f"/{tree.relative_to(tools)}"
    lines = run(["sh", "-c", _ASK, "sh", *(f"{inside}{path}" for path in paths)], root=tools).decode().split("\n")
    found: list[_Needs] = []
    for number, path in enumerate(paths):
        searched = lines[2 * number].replace("$ORIGIN", str(Path(path).parent))
        folders = tuple(os.path.normpath(each) for each in searched.split(":") if each)
        found.append(_Needs(path, folders, tuple(lines[2 * number + 1].split())))
    return found
