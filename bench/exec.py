"""ExecSync of `true`: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import all_alone, report

ROUNDS = 40


async def main() -> None:
    async with all_alone() as runtimes:
        containers = {runtime.name: (await runtime.pod())[1] for runtime in runtimes}
        for turn in range(ROUNDS + 3):
            for runtime in runtimes:
                if turn == 3:
                    runtime.times.clear()
                await runtime.timed("exec", runtime.exec_sync(containers[runtime.name], "true"))
        ratio = report("ExecSync true", runtimes, "exec")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
