"""Imports without packages that a process will not use, where a library imports them only if they are there."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast


@contextmanager
def without(package: str) -> Generator[None]:
    """What is imported meanwhile finds no such package, unless it is loaded already; afterwards it is there as ever."""
    if package in sys.modules:
        yield
        return
    loaded = cast("dict[str, object]", sys.modules)
    loaded[package] = None  # an import of it raises ModuleNotFoundError
    try:
        yield
    finally:
        del loaded[package]
