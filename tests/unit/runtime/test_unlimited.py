"""However a client of CRI spells "no limit", it is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.runtime import pod_resources, resources
from cellagent.runtime.spec import cgroup
from cellwire.cri.unlimited import NO_LIMIT, UNLIMITED, settled
from cellwire.cri.v1 import runtime_pb2 as cri

# The largest integer, and that rounded down to pages of 4, 16 and 64 KiB, to huge pages, and to MiB.
LARGEST = (1 << 63) - 1
SPELLINGS = [-1, -5, LARGEST, *(LARGEST >> bits << bits for bits in (12, 14, 16, 20, 21, 30)), 8796093022207 << 20]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_spelling_of_no_limit_is_minus_one(spelling: int) -> None:
    found = settled(cri.LinuxContainerResources(memory_limit_in_bytes=spelling, cpu_quota=spelling))
    assert (found.memory_limit_in_bytes, found.cpu_quota) == (UNLIMITED, UNLIMITED)
    resources.require_machine("a pod", found)
    limits = cgroup.limits(found)
    assert limits["memory"] == {"limit": -1, "swap": -1}
    assert limits["cpu"]["quota"] == -1


@given(st.integers(-(1 << 63), LARGEST), st.integers(-(1 << 63), LARGEST), st.integers(-(1 << 63), LARGEST))
def test_no_number_is_too_large_to_be_settled_and_added_up(memory: int, quota: int, other: int) -> None:
    asked = settled(
        cri.LinuxContainerResources(
            memory_limit_in_bytes=memory, memory_swap_limit_in_bytes=other, cpu_quota=quota, cpu_shares=other
        )
    )
    extra = settled(
        cri.LinuxContainerResources(memory_limit_in_bytes=other, cpu_quota=other, cpu_period=1, cpu_shares=quota)
    )
    wanted = pod_resources.with_overhead(asked, extra)
    assert (wanted.memory_limit_in_bytes == UNLIMITED) == (memory < 0 or memory >= NO_LIMIT)
    if 0 <= memory < NO_LIMIT:
        assert asked.memory_limit_in_bytes == memory


def test_a_change_to_no_limit_lifts_that_of_swap_too() -> None:
    known = cri.LinuxContainerResources(memory_limit_in_bytes=1 << 26, memory_swap_limit_in_bytes=1 << 27)
    merged = resources.merge(known, settled(cri.LinuxContainerResources(memory_limit_in_bytes=LARGEST)))
    assert (merged.memory_limit_in_bytes, merged.memory_swap_limit_in_bytes) == (UNLIMITED, UNLIMITED)


def test_huge_pages_without_a_limit_need_no_machine_that_counts_them() -> None:
    asked = cri.LinuxContainerResources()
    asked.hugepage_limits.add(page_size="2MB", limit=LARGEST >> 12 << 12)
    assert cgroup.enforceable("a container", asked, frozenset(), v2=True, cpu_bound=2) == {}
