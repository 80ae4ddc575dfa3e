"""RunPodSandbox + CreateContainer + StartContainer: our agent alone beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import Runtime, all_alone, report

ROUNDS = 15


async def one(runtime: Runtime) -> None:
    config = runtime.sandbox_config()
    found: list[str] = []

    async def sandbox() -> None:
        found.append(await runtime.run_sandbox(config))

    async def create() -> None:
        found.append(await runtime.create(found[0], config))

    spent = await runtime.timed("RunPodSandbox", sandbox())
    spent += await runtime.timed("CreateContainer", create())
    spent += await runtime.timed("StartContainer", runtime.start(found[1]))
    runtime.times.setdefault("start", []).append(spent)
    await runtime.stop(found[0], found[1])
    await runtime.remove(found[0], found[1])


async def main() -> None:
    async with all_alone() as runtimes:
        for runtime in runtimes:
            await one(runtime)
            runtime.times.clear()
        for _ in range(ROUNDS):
            for runtime in runtimes:
                await one(runtime)
        for step in ("RunPodSandbox", "CreateContainer", "StartContainer"):
            report(step, runtimes, step)
        ratio = report("start", runtimes, "start")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
