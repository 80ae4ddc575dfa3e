"""ExecSync of `true` through the shim, beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import report
from bench._shim import all_with_shim

ROUNDS = 40
WARM_UP = 3


async def main() -> None:
    async with all_with_shim() as (ours, theirs):
        containers = {runtime.name: (await runtime.pod())[1] for runtime in (ours, *theirs)}
        await ours.cells_ready()
        for turn in range(ROUNDS + WARM_UP):
            for runtime in (ours, *theirs):
                if turn == WARM_UP:
                    runtime.times.clear()
                await runtime.timed("exec", runtime.exec_sync(containers[runtime.name], "true"))
        ratio = report("ExecSync true", (ours, *theirs), "exec")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
