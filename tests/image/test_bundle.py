"""The agent's bundle on this machine's distribution: it brings its own Python, crun, conmon and libraries.

Asked for by name (`make test-image`): AGENT_BUNDLE names the archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from examples import image
from tests.support.registry import running_registry

BUNDLE = Path(os.environ.get("AGENT_BUNDLE", ""))
pytestmark = [
    pytest.mark.skipif(not BUNDLE.is_file(), reason="NOT RUN: AGENT_BUNDLE names no archive: run `make test-image`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: mounts need root"),
    pytest.mark.timeout(300),
]
# As the user-data lays it out, seen by the agent alone; what this machine has of the same name is behind it.
LAID_OUT = """
set -e
mkdir -p /opt/chinampa
mount -t tmpfs bundle /opt
mount -t tmpfs links /usr/local/bin
tar -xzf "$1" -C /
ln -s /opt/chinampa/bin/cellagent /opt/chinampa/libexec/* /usr/local/bin/
shift
exec /usr/local/bin/cellagent "$@"
"""


async def test_the_bundle_runs_a_pod_with_its_own_programs_on_this_distribution() -> None:
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name)
        async with running_registry() as registry:
            await asyncio.to_thread(image.push, f"http://{registry}", "web", "1")
            serve = [
                "serve",
                "--socket",
                str(folder / "s"),
                "--root",
                str(folder / "root"),
                "--state",
                str(folder / "run"),
            ]
            process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "--propagation", "private", "sh", "-c", LAID_OUT, "sh", str(BUNDLE.resolve()),
                *serve, "--bridge", "bundle-pods", "--subnet", "10.5.0.0/16",
                stdin=subprocess.DEVNULL, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
            try:
                await listening(folder / "s", process)
                await runs_a_pod(folder, f"{registry}/web:1")
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()


async def listening(path: Path, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(120):
        while not path.exists():
            assert process.returncode is None, "the agent of the bundle ended"
            await asyncio.sleep(0.1)


async def runs_a_pod(folder: Path, reference: str) -> None:
    channel = MendedChannel(CELL, path=str(folder / "s"))
    runtimes, images = runtime_grpc.RuntimeServiceStub(channel), runtime_grpc.ImageServiceStub(channel)
    try:
        await call(images.PullImage, cri.PullImageRequest(image=cri.ImageSpec(image=reference)), deadline=60)
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name="pod", uid="u", namespace="test"), log_directory=str(folder / "logs")
        )
        sandbox = (
            await call(runtimes.RunPodSandbox, cri.RunPodSandboxRequest(config=config), deadline=60)
        ).pod_sandbox_id
        wanted = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main"),
            image=cri.ImageSpec(image=reference),
            command=("sh", "-c", "echo hello; sleep 600"),
            log_path="main.log",
        )
        create = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=wanted, sandbox_config=config)
        container = (await call(runtimes.CreateContainer, create, deadline=60)).container_id
        await call(runtimes.StartContainer, cri.StartContainerRequest(container_id=container), deadline=60)
        asked = cri.ExecSyncRequest(container_id=container, cmd=("echo", "from inside"), timeout=30)
        assert (await call(runtimes.ExecSync, asked, deadline=60)).stdout == b"from inside\n"
        assert "/opt/chinampa/libexec/conmon" in programs()
        await call(runtimes.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=60)
        await call(runtimes.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), deadline=60)
        assert "stdout F hello" in (folder / "logs/main.log").read_text()
    finally:
        channel.close()


def programs() -> set[str]:
    """What runs on this machine, each as its own mounts name it."""
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):  # it has ended, or is the kernel's
            found.add(str(path.readlink()))
    return found
