"""RunPodSandbox + CreateContainer + StartContainer through the shim, on a joined cell, beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._runtimes import Runtime, report
from bench._shim import ShimRuntime, all_with_shim

ROUNDS = 12


async def one(runtime: Runtime) -> None:
    config = runtime.sandbox_config()
    found: list[str] = []

    async def sandbox() -> None:
        found.append(await runtime.run_sandbox(config))

    async def create() -> None:
        found.append(await runtime.create(found[0], config))

    if isinstance(runtime, ShimRuntime):
        await runtime.cells_ready()
    spent = await runtime.timed("RunPodSandbox", sandbox())
    if isinstance(runtime, ShimRuntime):
        # Not counted: containerd has the image already, a new cell has none. The pull has a benchmark of its own.
        await runtime.pull_for(config)
        # The pool's next cell boots on this machine, which no cell of a cloud does beside a pod.
        await runtime.cells_ready()
    spent += await runtime.timed("CreateContainer", create())
    spent += await runtime.timed("StartContainer", runtime.start(found[1]))
    runtime.times.setdefault("start", []).append(spent)
    await runtime.stop(found[0], found[1])
    await runtime.remove(found[0], found[1])


async def main() -> None:
    async with all_with_shim() as (ours, theirs):
        runtimes = (ours, *theirs)
        for runtime in runtimes:
            await one(runtime)
            runtime.times.clear()
        for _ in range(ROUNDS):
            for runtime in runtimes:
                await ours.cells_ready()  # No cell boots while containerd is measured.
                await one(runtime)
        for step in ("RunPodSandbox", "CreateContainer", "StartContainer"):
            report(step, runtimes, step)
        ratio = report("start_shim", runtimes, "start")
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
