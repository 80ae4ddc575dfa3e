"""A test that leaves something open fails, once its loop is closed: what uvloop made, or a program that still runs.

uvloop tells of it while it closes the loop. Raised there, as other warnings are, it would keep the loop from closing
the rest, and then the loop waits for its end, for ever. So it is told, and raised when the loop is closed.

Of a program asyncio tells only when its transport is collected, which is in another test.

So does one that leaves its process in other namespaces: what earlier tests have started shows no mount of later ones.
"""

from __future__ import annotations

import warnings
from asyncio import AbstractEventLoop
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Generator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

UNCLOSED = "unclosed resource"
NAMESPACES = ("mnt", "net")


class LeftOpenError(Exception):
    """Something was left open by a test."""


_programs: WeakKeyDictionary[BaseSubprocessTransport, tuple[AbstractEventLoop, object]] = WeakKeyDictionary()
_make = BaseSubprocessTransport.__init__


def _noting(transport: BaseSubprocessTransport, *about: Any, **more: Any) -> None:
    _programs[transport] = (about[0], about[2])
    _make(transport, *about, **more)


BaseSubprocessTransport.__init__ = _noting  # pyright: ignore[reportAttributeAccessIssue]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """A fixture may close one, too."""
    return (yield from _closed())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """A test may close loops of its own."""
    return (yield from _closed())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """The loop of a test is a fixture."""
    return (yield from _closed())


def _closed() -> Generator[None, object, object]:
    told: list[warnings.WarningMessage] = []
    lived_in = _namespaces()
    try:
        with warnings.catch_warnings(record=True) as told:
            done = yield
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        if left := _left(told, lived_in):
            raise left from error
        raise
    finally:
        for each in told:
            warnings.warn_explicit(str(each.message), each.category, each.filename, each.lineno)
    if left := _left(told, lived_in):
        raise left
    return done


def _namespaces() -> dict[str, str]:
    return {kind: str(Path(f"/proc/thread-self/ns/{kind}").readlink()) for kind in NAMESPACES}


def _left(told: list[warnings.WarningMessage], lived_in: dict[str, str]) -> LeftOpenError | None:
    left = sorted({str(each.message) for each in told if str(each.message).startswith(UNCLOSED)})
    for program, (loop, argv) in tuple(_programs.items()):
        if loop.is_closed():
            del _programs[program]
            if program.get_returncode() is None:
                left.append(f"a program runs on and its loop is closed: {argv}")
    left += [
        f"the process lives in another {kind} namespace" for kind, at in _namespaces().items() if lived_in[kind] != at
    ]
    return LeftOpenError("; ".join(left)) if left else None
