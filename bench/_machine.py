"""What the benchmarks choose on this machine, for as long as they run.

crun is the runtime that our users' machines have (pure version 2 of control groups). Where version 2 is mounted beside
version 1 crun refuses, so the benchmarks run without it, in mounts of their own: the machine stays as it is, however
they end. `--as-it-is` leaves that out, and our side runs with whatever works here.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cellagent.kernel import oci
from tests.support import machine

AS_IT_IS = "--as-it-is"


def ready_for_crun() -> str:
    """Leave what keeps crun from running. Says which OCI runtime ours will use, and gives its name."""
    if AS_IT_IS not in sys.argv and machine.crun_refuses():
        machine.leave_mounts()
        machine.leave_version2()
    runtime = oci.detect()
    print(f"ours runs {runtime.name} {runtime.version}: {runtime.why}", flush=True)
    return runtime.name


@contextmanager
def state_in_memory() -> Generator[Path]:
    """A folder for a runtime's state, in memory as /run is on a user's machine. It is not on every machine of ours."""
    folder = Path(tempfile.mkdtemp(prefix="chinampa-bench-", dir="/dev/shm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
