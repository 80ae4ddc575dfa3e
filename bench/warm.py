"""A pod with a 300 MB image whose layers are on its machine: on the pods API by a warm cell, from its creation to
Running; and through the shim, on a warm cell too, beside containerd, each as a kubelet asks: sandbox, pull, create,
start.

A pull of what is there asks the registry whether this pod may have it. "always" is a kubelet that pulls always, "if
absent" one that pulls what is absent, which containerd then asks nobody about: the ratio is that one, the worse for us.
`--rounds N`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bench._machine import ready_for_crun
from bench._runtimes import Runtime, answers, free_port, peers, process, report, until
from bench._shim import ShimRuntime, shim
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from examples import image
from tests.support.oci import layer, push_image

LAYERS, LAYER_BYTES, FILES = 6, 50_000_000, 200
STEPS = ("RunPodSandbox", "PullImage", "CreateContainer", "StartContainer")


async def push_big(port: int) -> None:
    """An image of 300 MB that no compression makes smaller."""
    base = layer(image.layer(Path("/bin/busybox")), "none")
    size = LAYER_BYTES // FILES
    more = [
        layer([(f"data/{number}/{part}", os.urandom(size)) for part in range(FILES)], "none")
        for number in range(LAYERS)
    ]
    await push_image(f"127.0.0.1:{port}", "big:1", [base, *more], {"Cmd": ["sleep", "3600"], "Env": ["PATH=/bin"]})


async def by_cri(runtime: Runtime) -> None:
    """One pod as a kubelet starts it, and away with it."""
    config = runtime.sandbox_config()
    if isinstance(runtime, ShimRuntime):
        await runtime.cells_ready(runtime.image)
    found: list[str] = []

    async def sandbox() -> None:
        found.append(await runtime.run_sandbox(config))

    async def pull() -> None:
        asked = cri.PullImageRequest(image=cri.ImageSpec(image=runtime.image), sandbox_config=config)
        await call(runtime_grpc.ImageServiceStub(runtime.channel).PullImage, asked, deadline=300)

    async def create() -> None:
        found.append(await runtime.create(found[0], config))

    spent = await runtime.timed("RunPodSandbox", sandbox())
    pulled = await runtime.timed("PullImage", pull())
    spent += await runtime.timed("CreateContainer", create())
    spent += await runtime.timed("StartContainer", runtime.start(found[1]))
    runtime.times.setdefault("always", []).append(spent + pulled)
    # Through the shim an image is present only once its pod was allowed to pull it.
    absent = spent + pulled if isinstance(runtime, ShimRuntime) else spent
    runtime.times.setdefault("if absent", []).append(absent)
    await runtime.stop(found[0], found[1])
    await runtime.remove(found[0], found[1])


class PodsApi:
    """The pods API of the same controller."""

    def __init__(self, session: aiohttp.ClientSession, base: str, image: str) -> None:
        self._session = session
        self._pods = f"{base}/api/v1/namespaces/default/pods"
        self._image = image

    async def pod(self, name: str, policy: str) -> tuple[float, dict[str, float]]:
        """Seconds from the request to Running, and when the moments before came: made, and its sandbox there."""
        container = {
            "name": "c", "image": self._image, "imagePullPolicy": policy, "command": ["sleep", "3600"],
            "resources": {"requests": {"cpu": "2", "memory": "32Mi"}},
        }  # fmt: skip
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        async with self._session.get(self._pods, params=query) as watch:
            began = time.perf_counter()
            async with self._session.post(self._pods, json=pod) as made:
                assert made.status == 201, await made.text()
            seen: dict[str, float] = {"created": time.perf_counter() - began}
            async for line in watch.content:
                text = line.decode()
                if '"podIP"' in text:
                    seen.setdefault("sandbox", time.perf_counter() - began)
                if '"phase":"Running"' in text.replace(" ", ""):
                    return time.perf_counter() - began, seen
        raise AssertionError("the watch has ended")

    async def delete(self, name: str) -> None:
        async with self._session.delete(f"{self._pods}/{name}") as gone:
            assert gone.status < 300, await gone.text()
        async with asyncio.timeout(60):
            while True:
                async with self._session.get(f"{self._pods}/{name}") as there:
                    if there.status == 404:
                        return
                await asyncio.sleep(0.1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_known_args()[0].rounds
    folder, port = Path(tempfile.mkdtemp(prefix="chinampa-bench-")), free_port()
    try:
        async with AsyncExitStack() as stack:
            program = ready_for_crun()
            settings = folder / "registry.yml"
            settings.write_text(
                f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: ':{port}'}}\n"
            )
            await stack.enter_async_context(process(folder / "registry.log", "docker-registry", "serve", str(settings)))
            await until(lambda: answers(port))
            await push_big(port)
            await asyncio.to_thread(image.push, f"http://127.0.0.1:{port}", "pause", "1", command=("sleep", "1000000"))
            reference = f"127.0.0.1:{port}/big:1"
            ours = await stack.enter_async_context(shim(folder / "ours", port, reference, holds=reference, api=True))
            theirs = await peers(stack, folder, reference, program, pause=f"127.0.0.1:{port}/pause:1")
            for runtime in theirs:
                await runtime.pull()
            session = await stack.enter_async_context(ours.api_session())
            api = PodsApi(session, ours.api, reference)
            found: dict[str, list[float]] = {"Always": [], "IfNotPresent": []}
            for number in range(rounds + 1):
                for policy, times in found.items():
                    await ours.cells_ready(reference)
                    name = f"p{number}-{policy.lower()}"
                    spent, seen = await api.pod(name, policy)
                    times.append(spent)
                    print(f"api {policy}: {spent * 1e3:.0f} ms { ({k: round(v * 1e3) for k, v in seen.items()}) }")
                    await api.delete(name)
                for runtime in (ours, *theirs):
                    await ours.cells_ready(reference)  # nothing boots while containerd is measured
                    await by_cri(runtime)
            for runtime in (ours, *theirs):
                runtime.times = {what: times[1:] for what, times in runtime.times.items()}
            for policy, times in found.items():
                times[:] = times[1:]
                middle, most = statistics.median(times), max(times)
                print(f"pods API, {policy}: median {middle * 1e3:.0f} ms, most {most * 1e3:.0f} ms of {len(times)}")
            for step in (*STEPS, "always"):
                report(step, (ours, *theirs), step)
            ratio = report("if absent", (ours, *theirs), "if absent")
            print(f"load {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
