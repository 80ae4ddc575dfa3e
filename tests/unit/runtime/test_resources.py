"""What a change of limits leaves as it was."""

from __future__ import annotations

from cellagent.runtime.resources import merge
from cellwire.cri.v1 import runtime_pb2 as cri


def test_what_is_not_said_stays_and_huge_pages_are_told_once() -> None:
    pages = [cri.HugepageLimit(page_size="2MB", limit=1 << 21)]
    known = cri.LinuxContainerResources(cpu_shares=512, memory_limit_in_bytes=1 << 30, hugepage_limits=pages)
    asked = cri.LinuxContainerResources(cpu_shares=1024, hugepage_limits=pages)
    wanted = cri.LinuxContainerResources(cpu_shares=1024, memory_limit_in_bytes=1 << 30, hugepage_limits=pages)
    assert merge(merge(known, asked), asked) == wanted
    assert merge(known, cri.LinuxContainerResources()) == known
