"""How clients of CRI spell "no limit", said in one way. Pure.

-1 is CRI's own word. A kubelet on control groups of version 1 sends back what the kernel reads there, which is the
largest number of whole pages or of whole MiB; others send the largest integer.
"""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri

# More than any machine has, less than every rounding of the largest integer.
NO_LIMIT = 1 << 60
UNLIMITED = -1
# The kernel's bounds of a group's CPU shares.
MOST_SHARES = 262_144


def settled(asked: cri.LinuxContainerResources) -> cri.LinuxContainerResources:
    """The same resources, in which -1 is the only way of saying "no limit" for memory, swap and CPU time."""
    found = cri.LinuxContainerResources()
    found.CopyFrom(asked)
    found.memory_limit_in_bytes = _settled(asked.memory_limit_in_bytes)
    found.memory_swap_limit_in_bytes = _settled(asked.memory_swap_limit_in_bytes)
    found.cpu_quota = _settled(asked.cpu_quota)
    found.cpu_shares = min(asked.cpu_shares, MOST_SHARES)
    if found.memory_limit_in_bytes == UNLIMITED and found.memory_swap_limit_in_bytes:
        # Memory and swap together cannot be limited where memory is not.
        found.memory_swap_limit_in_bytes = UNLIMITED
    return found


def _settled(number: int) -> int:
    return UNLIMITED if number < 0 or number >= NO_LIMIT else number
