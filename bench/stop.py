"""StopContainer + StopPodSandbox + RemoveContainer + RemovePodSandbox: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import Runtime, both, report

ROUNDS = 15


async def one(runtime: Runtime) -> None:
    sandbox, container = await runtime.pod()

    async def end() -> None:
        await runtime.stop(sandbox, container)
        await runtime.remove(sandbox, container)

    await runtime.timed("stop", end())


async def main() -> None:
    async with both() as (ours, theirs):
        for runtime in (ours, theirs):
            await one(runtime)
            runtime.times.clear()
        for _ in range(ROUNDS):
            await one(ours)
            await one(theirs)
        ratio = report("stop + remove", ours.times["stop"], theirs.times["stop"])
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
