"""Memory that malloc keeps: measured by the pages that the kernel has to give anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

COPIES = """
import resource
from hostkit import syscalls
if {kept}:
    syscalls.keep_freed({kept})
def copies(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        text = bytes(400_000) + b"x"
        other = text + b"y"
        del text, other
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
copies(5)
print(copies(100))
"""


def faults(kept: int) -> int:
    command = [sys.executable, "-c", COPIES.format(kept=kept)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_messages_are_copied_in_memory_that_is_there() -> None:
    if faults(0) < 1000:
        pytest.skip("NOT RUN: this libc keeps what was freed by itself")
    assert faults(8 << 20) < 100
