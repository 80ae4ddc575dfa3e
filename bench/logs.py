"""1,000,000 lines of 100 bytes until complete in the CRI log: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench._runtimes import Runtime, both, report

LINES = 1_000_000
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
        size = -1
        # Complete is when the last line is whole; the size stands still then.
        while not log.exists() or log.stat().st_size < LEAST_BYTES or log.stat().st_size != size:
            size = log.stat().st_size if log.exists() else -1
            await asyncio.sleep(0.01)

    await runtime.timed("logs", written())
    log = Path(runtime.folder) / "logs" / str(runtime.made) / "c.log"
    with log.open("rb") as file:
        assert sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) == LINES
    await runtime.stop(sandbox, container)
    await runtime.remove(sandbox, container)
    log.unlink(missing_ok=True)


async def main() -> None:
    async with both() as (ours, theirs):
        for _ in range(ROUNDS):
            await one(ours)
            await one(theirs)
        ratio = report("1,000,000 lines", ours.times["logs"], theirs.times["logs"])
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
