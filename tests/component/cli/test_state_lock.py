"""A controller's folder: one process at a time, and the next one as soon as the last has let go."""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hostkit import locks
from tests.support.waiting import until

RUN = """
import sys
from pathlib import Path
from cellwire.faults import Fault
from controller import process

async def main():
    print("at work", flush=True)

process.SUCCESSION = float(sys.argv[2])
try:
    process.run(main, Path(sys.argv[1]), "info", "controller")
except Fault as fault:
    print(fault, flush=True)
"""


@asynccontextmanager
async def starting(state: Path, patience: float) -> AsyncGenerator[asyncio.subprocess.Process]:
    words = (sys.executable, "-c", RUN, str(state), str(patience))
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_one_that_starts_waits_for_what_a_killed_one_was_about_to_run(tmp_path: Path) -> None:
    with locks.file(tmp_path / "lock") as lock:
        assert locks.take(lock)
        async with starting(tmp_path, 300) as process:
            await until(lambda: _has_open(process.pid, tmp_path / "lock"))
            fcntl.flock(lock, fcntl.LOCK_UN)
            said, _ = await process.communicate()
    assert said.decode() == "at work\n"


async def test_one_that_finds_another_at_work_says_so(tmp_path: Path) -> None:
    with locks.file(tmp_path / "lock") as lock:
        assert locks.take(lock)
        async with starting(tmp_path, 0.1) as process:
            said, _ = await process.communicate()
    assert "another controller has it; stop that one" in said.decode()


def _has_open(pid: int, path: Path) -> bool:
    with suppress(OSError):
        return any(one.resolve() == path for one in Path(f"/proc/{pid}/fd").iterdir())
    return False
