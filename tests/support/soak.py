"""A soak of the shim: pods come and go as a kubelet makes them, while the controller is killed at random moments.

    python -m tests.support.soak [PODS [KILLS [SEED]]]

Every pod must end with its own exit code and its whole log, whatever was killed, and nothing may be left.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.shim import RunningShim, running_shim

Result = TypeVar("Result")
AT_ONCE = 6
LINES = 300
COMMAND = "n=0; while [ $n -lt {lines} ]; do n=$((n+1)); echo {name} $n; sleep 0.005; done; exit {code}"
# What a kubelet meets when its runtime dies under it, and asks again after.
PASSING = frozenset({Kind.UNAVAILABLE, Kind.UNREACHABLE, Kind.TIMEOUT, Kind.BROKEN})


async def soak(shim: RunningShim, *, pods: int, kills: int, seed: int) -> None:
    """Run so many pods to their ends, with so many kills. Raises AssertionError."""
    chance = random.Random(seed)
    over = asyncio.Event()
    slots = asyncio.Semaphore(AT_ONCE)
    lived: set[int] = set()

    async def one(number: int) -> None:
        async with slots:
            await _life(shim, f"p{number}", number % 200)
            lived.add(number)

    async with asyncio.TaskGroup() as tasks:
        killer = tasks.create_task(_kill(shim, kills, chance, over))
        async with asyncio.TaskGroup() as lives:
            for number in range(pods):
                lives.create_task(one(number))
        over.set()
        await killer
    assert lived == set(range(pods))
    listed = await _persist(shim, lambda: call(shim.runtime.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10))
    assert not listed.items, listed


async def _kill(shim: RunningShim, kills: int, chance: random.Random, over: asyncio.Event) -> None:
    for _ in range(kills):
        try:
            async with asyncio.timeout(chance.uniform(0.3, 3.0)):
                await over.wait()
                return
        except TimeoutError:
            await shim.controller.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            await shim.controller.start()
            shim.redial()


async def _life(shim: RunningShim, uid: str, code: int) -> None:
    """One pod as a kubelet drives it: each step is asked again until it is done."""
    config = shim.config(uid)
    sandbox = await _persist(shim, lambda: shim.run(config))
    command = ("sh", "-c", COMMAND.format(lines=LINES, name=uid, code=code))
    container = await _persist(shim, lambda: _container(shim, sandbox, config, command))
    await _persist(shim, lambda: _started(shim, container))
    status = await _persist(shim, lambda: _exited(shim, container))
    assert status.exit_code == code, (uid, status)
    await _persist(shim, lambda: shim.remove(sandbox))
    log = shim.logs / uid / "c" / "0.log"
    words = [line.split(" ", 3)[3] for line in log.read_text().splitlines()]
    assert words == [f"{uid} {number}" for number in range(1, LINES + 1)], (uid, len(words), words[-1:])


async def _container(shim: RunningShim, sandbox: str, config: cri.PodSandboxConfig, command: tuple[str, ...]) -> str:
    wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox))
    known = (await call(shim.runtime.ListContainers, wanted, deadline=10)).containers
    return known[0].id if known else await shim.create(sandbox, config, *command)


async def _started(shim: RunningShim, container: str) -> None:
    if (await shim.status(container)).state == cri.CONTAINER_CREATED:
        try:
            await shim.start(container)
        except Fault as fault:
            # Started by a controller that died before it said so; the shim learns of it by itself.
            if fault.kind is not Kind.PRECONDITION:
                raise


async def _exited(shim: RunningShim, container: str) -> cri.ContainerStatus:
    while (status := await shim.status(container)).state != cri.CONTAINER_EXITED:
        await asyncio.sleep(0.2)
    return status


async def _persist(shim: RunningShim, step: Callable[[], Awaitable[Result]]) -> Result:
    async with asyncio.timeout(120):
        while True:
            try:
                return await step()
            except Fault as fault:
                if fault.kind not in PASSING:
                    raise
                await asyncio.sleep(0.2)


async def main(pods: int = 30, kills: int = 12, seed: int = 1) -> None:
    """The long one."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with running_shim(Path(folder), "") as shim:
            await soak(shim, pods=pods, kills=kills, seed=seed)
            await shim.controller.until(lambda cells: not cells)
    print(f"soak: {pods} pods, {kills} kills, seed {seed}: whole")


if __name__ == "__main__":
    asyncio.run(main(*(int(word) for word in sys.argv[1:])))
