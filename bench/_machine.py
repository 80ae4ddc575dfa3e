"""What the benchmarks change of this machine, or choose on it, for as long as they run.

crun is the runtime that our users' machines have (pure version 2 of control groups). Where version 1 is mounted beside
version 2 and huge pages are left to version 2, crun refuses; mounting a version 1 hierarchy for huge pages lets it run.
`--as-it-is` leaves the machine alone, and our side runs with whatever works here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellagent.kernel import oci

AS_IT_IS = "--as-it-is"
HUGE_PAGES = Path("/sys/fs/cgroup/hugetlb")


@contextmanager
def ready_for_crun() -> Generator[None]:
    """Mount what crun misses, and take it away again. Says which OCI runtime ours will use."""
    wanted = AS_IT_IS not in sys.argv and oci.leftover_controllers(Path("/proc/mounts").read_text()) == "hugetlb"
    if wanted:
        _mount()
    try:
        runtime = oci.detect()
        print(f"ours runs {runtime.name} {runtime.version}: {runtime.why}", flush=True)
        yield
    finally:
        if wanted:
            _give_back()


@contextmanager
def state_in_memory() -> Generator[Path]:
    """A folder for a runtime's state, in memory as /run is on a user's machine. It is not on every machine of ours."""
    folder = Path(tempfile.mkdtemp(prefix="chinampa-bench-", dir="/dev/shm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mount() -> None:
    HUGE_PAGES.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", HUGE_PAGES], check=True)


def _give_back() -> None:
    """Unmount until version 2 has the controller again.

    The kernel lets go of a hierarchy only if it has no group in the moment of the unmount, and of a removed group only
    some time later; both take their time.
    """
    for turn in range(10):
        if turn:
            _mount()
        _clear(HUGE_PAGES)
        subprocess.run(["umount", HUGE_PAGES], check=True)
        _clear(HUGE_PAGES)
        for _ in range(10):
            time.sleep(0.1)
            if _free():
                return
    print("a group of huge pages is still in use: their hierarchy of version 1 stays for now", file=sys.stderr)


def _free() -> bool:
    rows = (line.split() for line in Path("/proc/cgroups").read_text().splitlines())
    return ["hugetlb", "0"] in (row[:2] for row in rows)


def _clear(top: Path) -> None:
    """Remove the empty folders, in which others of this machine may have groups meanwhile."""
    for folder in [*sorted(top.rglob("*"), reverse=True), top]:
        if folder.is_dir():
            with suppress(OSError):
                folder.rmdir()
