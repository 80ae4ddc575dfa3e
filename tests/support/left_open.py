"""A test that leaves open what uvloop made fails, once its loop is closed.

uvloop tells of it while it closes the loop. Raised there, as other warnings are, it would keep the loop from closing
the rest, and then the loop waits for its end, for ever. So it is told, and raised when the loop is closed.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator

import pytest

UNCLOSED = "unclosed resource"


class LeftOpenError(Exception):
    """Something was left open by a test."""


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
    try:
        with warnings.catch_warnings(record=True) as told:
            done = yield
    except Exception as error:
        if left := _left(told):
            raise left from error
        raise
    finally:
        for each in told:
            warnings.warn_explicit(str(each.message), each.category, each.filename, each.lineno)
    if left := _left(told):
        raise left
    return done


def _left(told: list[warnings.WarningMessage]) -> LeftOpenError | None:
    left = sorted({str(each.message) for each in told if str(each.message).startswith(UNCLOSED)})
    return LeftOpenError("; ".join(left)) if left else None
