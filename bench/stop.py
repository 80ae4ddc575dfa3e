"""StopContainer + StopPodSandbox + RemoveContainer + RemovePodSandbox: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import Runtime, all_alone, report

ROUNDS = 15


async def one(runtime: Runtime) -> None:
    sandbox, container = await runtime.pod()

    async def end() -> None:
        await runtime.stop(sandbox, container)
        await runtime.remove(sandbox, container)

    await runtime.timed("stop", end())


async def main() -> None:
    async with all_alone() as runtimes:
        for runtime in runtimes:
            await one(runtime)
            runtime.times.clear()
        for _ in range(ROUNDS):
            for runtime in runtimes:
                await one(runtime)
        ratio = report("stop + remove", runtimes, "stop")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
