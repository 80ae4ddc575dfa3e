"""A class name has one meaning in the whole tree: a name that stands twice is looked up twice."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("controller", "cellagent", "hostkit", "proto/cellwire", "images", "bench", "tests/support")


def defined(path: Path) -> set[str]:
    return {each.name for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.ClassDef)}


def test_each_class_name_is_defined_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        if "_pb2" not in path.name and not path.name.endswith("_grpc.py"):
            for name in defined(path):
                places[name].append(str(path.relative_to(ROOT)))
    assert {name: there for name, there in places.items() if len(there) > 1} == {}, "say which of them is meant"
