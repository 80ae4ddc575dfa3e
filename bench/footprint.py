"""Memory at rest of what a one-container pod takes beside itself: agent and conmon, against containerd, shim and pause.

crun and runc are gone once the container runs. Proportional set size: what processes share is counted once.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bench._runtimes import Runtime, all_alone

PROC = Path("/proc")
# The container itself, which is the pod's own business.
CONTAINER = "sleep 3600"
SETTLE_SECONDS = 5.0


def processes() -> Iterator[tuple[int, str, str]]:
    """Number, command line and control groups of every process."""
    for path in PROC.iterdir():
        if path.name.isdecimal():
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                yield int(path.name), line, (path / "cgroup").read_text()
            except OSError:
                continue


def parent(pid: int) -> int:
    found = re.search(r"^PPid:\s+(\d+)", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def pss_kib(pid: int) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", (PROC / str(pid) / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def beside_the_pod(runtime: Runtime) -> dict[int, str]:
    """Every process that is there because of this runtime and its pod, but for the container."""
    every = {pid: (line, groups) for pid, line, groups in processes()}
    inside = {pid for pid, (_, groups) in every.items() if f"/bench-{runtime.name}" in groups}
    mine = {pid for pid, (line, _) in every.items() if str(runtime.folder) in line}
    mine |= inside | {parent(pid) for pid in inside}
    return {pid: every[pid][0] for pid in sorted(mine) if pid in every and every[pid][0] not in {CONTAINER, ""}}


def told(runtime: Runtime) -> int:
    """Print what each process takes; the sum in KiB."""
    total = 0
    for pid, line in beside_the_pod(runtime).items():
        words = line.split()
        name = next((Path(word).name for word in words if "cellagent" in word), Path(words[0]).name)
        size = pss_kib(pid)
        total += size
        print(f"{runtime.name:<16} {name:<28} {size / 1024:7.1f} MiB")
    print(f"{runtime.name:<16} {'together':<28} {total / 1024:7.1f} MiB", flush=True)
    return total


async def main() -> float:
    async with all_alone() as runtimes:
        for runtime in runtimes:
            await runtime.pod()
        await asyncio.sleep(SETTLE_SECONDS)
        ours, *theirs = (told(runtime) for runtime in runtimes)
        return ours / theirs[0]


if __name__ == "__main__":
    print(f"ratio: {asyncio.run(main()):.2f}")
    sys.exit(0)
