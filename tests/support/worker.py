"""A worker: `chinampa shim` as a process of its own, beside controllers that run; asked as a kubelet would ask."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.controller import ENVIRONMENT, RUN, START_SECONDS, Controller
from tests.support.registry import free_port
from tests.support.shim import RunningShim
from tests.support.waiting import until

COUNT = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done")


class WorkerProcess:
    """The process, which may be killed and started again over the same folder, and its kubelet's client."""

    def __init__(
        self,
        name: str,
        folder: Path,
        controller: Controller,
        address: str,
        links: Sequence[str],
        pods: Path | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.shim = RunningShim(controller, folder / "s", pods or folder / "pods", folder / "logs")
        self.process: asyncio.subprocess.Process | None = None
        self._links = links
        folder.mkdir(parents=True)
        (folder / "shim.toml").write_text(
            f'state = "{folder}/state"\n[shim]\nsocket = "{folder}/s"\npods_folder = "{self.shim.pods_folder}"\n'
            f'[remote]\nhost = "{address}"\nport = {free_port()}\n'
        )

    async def start(self, token: str = "", fingerprint: str = "") -> None:
        """Start it and wait until CRI is answered."""
        with (self.folder / "shim.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", RUN, "shim", "--config", str(self.folder / "shim.toml"),
                *(word for link in self._links for word in ("--controller", link)),
                *(["--fingerprint", fingerprint] if fingerprint else []),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**ENVIRONMENT, "CHINAMPA_WORKER_TOKEN": token},
            )  # fmt: skip
        await self.answering()

    async def answering(self) -> None:
        """Wait until CRI is answered."""
        assert self.process is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                while self.process.returncode is None:
                    self.shim.redial()
                    try:
                        await call(self.shim.runtime.Version, cri.VersionRequest(), deadline=5)
                    except Fault:
                        await asyncio.sleep(0.1)
                    else:
                        return
        except TimeoutError as error:
            raise AssertionError(self.words()) from error
        raise AssertionError(self.words())

    async def kill(self, number: int = signal.SIGKILL) -> int:
        """End it by a signal; how it ended."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await self.process.wait()
        self.process = None
        return code

    def words(self) -> str:
        """The end of its log."""
        return "\n".join((self.folder / "shim.log").read_text().splitlines()[-30:])

    async def said_again(self, container: str) -> str:
        """What a command in the container says; nothing while its cell or the shim is away."""
        try:
            return await self.shim.said(container, "echo again")
        except Fault:
            return ""

    async def pod_in_time(self, *command: str, uid: str) -> tuple[str, str] | None:
        """A running pod; None while no controller answers, which must be said in words."""
        try:
            return await self.shim.pod(*command, uid=uid)
        except Fault as fault:
            assert fault.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT}, fault
            return None

    async def counts_on(self, uid: str) -> None:
        """The log grows, each line once and none missing."""
        before = len(self.log_of(uid))
        await until(lambda: len(self.log_of(uid)) > before + 3)
        lines = self.log_of(uid)
        assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]

    def log_of(self, uid: str) -> list[str]:
        """The lines of the log of a pod's container, as they were written; without times."""
        lines = (self.shim.logs / uid / "c/0.log").read_text().splitlines()
        return [line.split(" ", 3)[3] for line in lines]


def link_of(controller: Controller) -> tuple[str, str]:
    """Where the controller's link is: host, and host:port."""
    link = tomllib.loads((controller.folder / "controller.toml").read_text())["link"]
    return link["host"], f"{link['host']}:{link['port']}"


def fingerprint_of(controller: Controller) -> str:
    """Of its authority."""
    pem = (controller.folder / "state/link/ca.pem").read_text()
    return "sha256:" + sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def joining(controller: Controller, name: str) -> str:
    """A token for a worker."""
    config = str(controller.folder / "controller.toml")
    return (await controller.run("token", "worker", name, "--ttl", "10m", "--config", config)).strip()


@asynccontextmanager
async def running_worker(
    name: str,
    folder: Path,
    controller: Controller,
    address: str,
    links: Sequence[str] = (),
    pods: Path | None = None,
) -> AsyncGenerator[WorkerProcess]:
    """A worker that has joined; its process is gone afterwards. `pods` is the folder of its kubelet, if it has one."""
    worker = WorkerProcess(name, folder, controller, address, links or [link_of(controller)[1]], pods)
    try:
        await worker.start(await joining(controller, name), fingerprint_of(controller))
        yield worker
    finally:
        worker.shim.close()
        if worker.process is not None:
            await worker.kill(signal.SIGTERM)
