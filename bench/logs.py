"""1,000,000 lines of 100 bytes until complete in the CRI log: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench._runtimes import Runtime, all_alone, report

LINES = 1_000_000
QUIET = 0.3
ROUNDS = 3
COMMAND = f"yes {'x' * 99} | head -n {LINES}; sleep 3600"
# CRI log: the line, its newline, and "2026-11-23T21:28:00.000000000Z stdout F " before it.
LEAST_BYTES = LINES * (100 + 35)


async def one(runtime: Runtime) -> None:
    sandbox = ""
    container = ""

    async def written() -> None:
        nonlocal sandbox, container
        sandbox, container = await runtime.pod("sh", "-c", COMMAND)
        log = Path(runtime.folder) / "logs" / str(runtime.made) / "c.log"
        while not log.exists() or log.stat().st_size < LEAST_BYTES or time.time() - log.stat().st_mtime < QUIET:
            await asyncio.sleep(0.01)

    # Complete is when nothing has been written for a while; the while is not counted.
    await runtime.timed("logs", written())
    runtime.times["logs"][-1] -= QUIET
    log = Path(runtime.folder) / "logs" / str(runtime.made) / "c.log"
    with log.open("rb") as file:
        # A runtime may cut a line at the end of a read: only whole lines and last parts say F.
        assert sum(line.split(b" ", 3)[2] == b"F" for line in file) == LINES
    await runtime.stop(sandbox, container)
    await runtime.remove(sandbox, container)
    log.unlink(missing_ok=True)


async def main() -> None:
    async with all_alone() as runtimes:
        for _ in range(ROUNDS):
            for runtime in runtimes:
                await one(runtime)
        ratio = report("1,000,000 lines", runtimes, "logs")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
