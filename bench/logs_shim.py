"""1,000,000 lines of 100 bytes until complete in the kubelet's file: through the shim, beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench import logs
from bench._runtimes import report
from bench._shim import all_with_shim


async def main() -> None:
    async with all_with_shim() as (ours, theirs):
        for _ in range(logs.ROUNDS):
            # A pod's start is a part of all; the cell is joined before, and has its image before the clock starts.
            for runtime in (ours, *theirs):
                await ours.cells_ready()
                await logs.one(runtime)
        ratio = report("1,000,000 lines", (ours, *theirs), "logs")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
