"""A double of a cell: speaks CRI and cell.v1 in this process, and runs "containers" as plain processes of this machine.

It isolates nothing and pulls nothing: any image exists, but not those with `absent` in their name, nor those with
`unreachable`, whose registry is out of reach; a command that is not there refuses to start. For tests of what drives a
cell; real cells have tests of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import secrets
import shlex
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cellagent.runtime.file_trees import read_end
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout


class Process:
    """One container."""

    def __init__(self, config: cri.ContainerConfig, sandbox: str, name: str) -> None:
        image = config.image.image
        self.status = cri.ContainerStatus(
            id=name,
            metadata=config.metadata,
            image=config.image,
            image_ref=image,
            image_id=image,
            created_at=time.time_ns(),
        )
        self.config, self.sandbox = config, sandbox
        self.process: asyncio.subprocess.Process | None = None
        self.log = bytearray()
        self.viewers: list[asyncio.Queue[Output]] = []
        self.changed = asyncio.Event()
        self.carried_in = ""

    def touch(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


def alive(one: Process) -> bool:
    return one.process is not None and one.process.returncode is None


def stats_of(one: Process) -> cri.ContainerStats:
    assert one.process is not None
    folder = Path("/proc") / str(one.process.pid)
    fields, pages = (folder / "stat").read_text().rpartition(")")[2].split(), (folder / "statm").read_text().split()[1]
    ticks, now = int(fields[11]) + int(fields[12]), time.time_ns()
    return cri.ContainerStats(
        attributes=cri.ContainerAttributes(id=one.status.id),
        cpu=cri.CpuUsage(timestamp=now, usage_core_nano_seconds=cri.UInt64Value(value=ticks * 10**7)),
        memory=cri.MemoryUsage(timestamp=now, working_set_bytes=cri.UInt64Value(value=int(pages) * 4096)),
    )


class CellDouble:
    """One cell: containers, and the calls of the services on them."""

    def __init__(self, tasks: asyncio.TaskGroup, sandboxes_go: asyncio.Event, pulls_go: asyncio.Event) -> None:
        self.tasks = tasks
        self.sandboxes_go, self.pulls_go = sandboxes_go, pulls_go
        self.containers: dict[str, Process] = {}
        self.sandboxes: dict[str, cri.PodSandboxStatus] = {}
        self.folders: dict[str, list[str]] = {}
        self.trees: dict[str, dict[str, bytes]] = {}
        self.events: list[asyncio.Queue[cri.ContainerEventResponse]] = []
        self.pulls = 0
        self.pulled: list[str] = []
        self.held: dict[str, cri.Image] = {}
        """Images that were there before, by the reference that finds them."""
        self.logins: list[tuple[str, str]] = []

    async def run(self, request: cri.RunPodSandboxRequest) -> cri.RunPodSandboxResponse:
        await self.sandboxes_go.wait()
        config = request.config
        pod = (config.metadata.uid, config.metadata.attempt)
        for one in self.sandboxes.values():
            if (one.metadata.uid, one.metadata.attempt) == pod:
                return cri.RunPodSandboxResponse(pod_sandbox_id=one.id)
        sandbox = secrets.token_hex(32)
        network = cri.PodSandboxNetworkStatus(ip="10.8.0.3")
        self.sandboxes[sandbox] = cri.PodSandboxStatus(
            id=sandbox, metadata=config.metadata, labels=config.labels, network=network, created_at=time.time_ns()
        )
        return cri.RunPodSandboxResponse(pod_sandbox_id=sandbox)

    async def list_sandboxes(self, request: cri.ListPodSandboxRequest) -> cri.ListPodSandboxResponse:
        wanted = dict(request.filter.label_selector).items()
        found = [one for one in self.sandboxes.values() if wanted <= dict(one.labels).items()]
        listed = [
            cri.PodSandbox(id=one.id, metadata=one.metadata, labels=one.labels, created_at=one.created_at)
            for one in found
        ]
        return cri.ListPodSandboxResponse(items=listed)

    async def stop_sandbox(self, request: cri.StopPodSandboxRequest) -> cri.StopPodSandboxResponse:
        self.kill_all()
        for one in self.containers.values():
            while one.status.state == cri.CONTAINER_RUNNING:
                await one.changed.wait()
        return cri.StopPodSandboxResponse()

    async def sandbox_status(self, request: cri.PodSandboxStatusRequest) -> cri.PodSandboxStatusResponse:
        return cri.PodSandboxStatusResponse(status=self._sandbox(request.pod_sandbox_id))

    async def create(self, request: cri.CreateContainerRequest) -> cri.CreateContainerResponse:
        return cri.CreateContainerResponse(container_id=self._made(request, secrets.token_hex(32)).id)

    def _made(self, request: cri.CreateContainerRequest, name: str) -> cri.ContainerStatus:
        sandbox, wanted = self._sandbox(request.pod_sandbox_id), request.config.metadata
        for one in self.containers.values():
            if (one.sandbox, one.status.metadata) == (sandbox.id, wanted):
                raise Fault(Kind.EXISTS, f"container {wanted.name}", f"{one.status.id} has the same name and attempt")
        one = Process(request.config, sandbox.id, name)
        self.containers[one.status.id] = one
        self._tell(one)
        return one.status

    async def make(self, request: wire.MakeContainerRequest) -> wire.MakeContainerReply:
        if request.container_id not in self.containers:
            self._made(request.asked, request.container_id)
            folder, _, name = request.carried_path.rpartition("/")
            self.folders[folder], self.trees[folder] = [name], {name: request.carried}
            self.containers[request.container_id].carried_in = folder
        return wire.MakeContainerReply(status=self.containers[request.container_id].status)

    async def start(self, request: cri.StartContainerRequest) -> cri.StartContainerResponse:
        one = self.find(request.container_id)
        if one.status.state != cri.CONTAINER_CREATED:
            raise Fault(Kind.PRECONDITION, f"container {one.status.id}", "it has started already")
        command = [*one.config.command, *one.config.args] or ["sleep", "1000"]
        try:
            one.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE if one.config.stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": "/usr/bin:/bin"} | {env.key: env.value.decode() for env in one.config.envs},
                start_new_session=True,
            )
        except OSError as error:
            one.status.state, one.status.exit_code, one.status.reason = cri.CONTAINER_EXITED, 128, "StartError"
            self._tell(one)
            raise Fault(Kind.BROKEN, f"container {one.status.id}", f"exec: {command[0]}: {error.strerror}") from error
        one.status.state, one.status.started_at = cri.CONTAINER_RUNNING, time.time_ns()
        self._tell(one)
        self.tasks.create_task(self._wait(one))
        return cri.StartContainerResponse()

    async def _wait(self, one: Process) -> None:
        process = one.process
        assert process is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(one, process.stdout, "stdout"))
            tasks.create_task(self._read(one, process.stderr, "stderr"))
            code = await process.wait()
        one.status.exit_code = code if code >= 0 else 128 - code
        one.status.reason = "Completed" if code == 0 else "Error"
        one.status.finished_at, one.status.state = time.time_ns(), cri.CONTAINER_EXITED
        for viewer in one.viewers:
            viewer.put_nowait(Exited(one.status.exit_code))
        one.touch()
        self._tell(one)

    def _tell(self, one: Process) -> None:
        """As it is now, with all others of its sandbox."""
        told = [other.status for other in self.containers.values() if other.sandbox == one.sandbox]
        event = cri.ContainerEventResponse(
            container_id=one.status.id, pod_sandbox_status=self._sandbox(one.sandbox), containers_statuses=told
        )
        for queue in self.events:
            queue.put_nowait(event)

    async def _read(self, one: Process, source: asyncio.StreamReader | None, name: str) -> None:
        assert source is not None
        while line := await source.readline():
            stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            one.log += f"{stamp} {name} F ".encode() + line.rstrip(b"\n") + b"\n"
            for viewer in one.viewers:
                viewer.put_nowait(Stdout(line) if name == "stdout" else Stderr(line))
            one.touch()

    async def stop(self, request: cri.StopContainerRequest) -> cri.StopContainerResponse:
        one = self.containers.get(request.container_id)
        if one is not None and one.process is not None and one.process.returncode is None:
            signalled(one.process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(request.timeout):
                    await one.process.wait()
            if one.process.returncode is None:
                signalled(one.process.pid, signal.SIGKILL)
            while one.status.state == cri.CONTAINER_RUNNING:
                await one.changed.wait()
        return cri.StopContainerResponse()

    async def list_containers(self, request: cri.ListContainersRequest) -> cri.ListContainersResponse:
        wanted = request.filter.pod_sandbox_id
        listed = [
            cri.Container(
                id=one.status.id,
                pod_sandbox_id=one.sandbox,
                metadata=one.status.metadata,
                state=one.status.state,
                created_at=one.status.created_at,
            )
            for one in self.containers.values()
            if wanted in {"", one.sandbox}
        ]
        return cri.ListContainersResponse(containers=listed)

    async def status(self, request: cri.ContainerStatusRequest) -> cri.ContainerStatusResponse:
        return cri.ContainerStatusResponse(status=self.find(request.container_id).status)

    async def stats(self, request: cri.ListContainerStatsRequest) -> cri.ListContainerStatsResponse:
        found = [one for one in self.containers.values() if one.sandbox == request.filter.pod_sandbox_id]
        return cri.ListContainerStatsResponse(stats=[stats_of(one) for one in found if alive(one)])

    async def image(self, request: cri.ImageStatusRequest) -> cri.ImageStatusResponse:
        if request.image.image in self.held:
            return cri.ImageStatusResponse(image=self.held[request.image.image])
        if request.image.image.startswith("sha256:"):
            return cri.ImageStatusResponse(image=cri.Image(id=request.image.image, size=7))
        return cri.ImageStatusResponse()

    async def pull(self, request: cri.PullImageRequest) -> cri.PullImageResponse:
        self.pulls += 1
        self.pulled.append(request.image.image)
        self.logins.append((request.auth.username, request.auth.password))
        await self.pulls_go.wait()
        if "absent" in request.image.image:
            raise Fault(Kind.NOT_FOUND, f"image {request.image.image}", "the registry has no such tag")
        if "unreachable" in request.image.image:
            raise Fault(Kind.UNAVAILABLE, f"image {request.image.image}", "its registry cannot be reached")
        return cri.PullImageResponse(image_ref="sha256:" + "1" * 64)

    async def remove(self, request: cri.RemoveContainerRequest) -> cri.RemoveContainerResponse:
        await self.stop(cri.StopContainerRequest(container_id=request.container_id))
        if (one := self.containers.pop(request.container_id, None)) is not None:
            self.trees.pop(one.carried_in, None)
        return cri.RemoveContainerResponse()

    async def exec_sync(self, request: cri.ExecSyncRequest) -> cri.ExecSyncResponse:
        self.find(request.container_id)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*request.cmd, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        return cri.ExecSyncResponse(stdout=out, stderr=err, exit_code=process.returncode or 0)

    async def read_file(self, request: wire.ReadFileRequest) -> wire.ReadFileReply:
        folder, _, name = request.path.rpartition("/")
        put = self.trees.get(folder, {}).get(name)
        return wire.ReadFileReply(data=read_end(request.path, request.limit) if put is None else put)

    def find(self, container: str) -> Process:
        if container not in self.containers:
            raise Fault(Kind.NOT_FOUND, f"container {container}", "there is none")
        return self.containers[container]

    def _sandbox(self, sandbox: str) -> cri.PodSandboxStatus:
        if sandbox not in self.sandboxes:
            raise Fault(Kind.NOT_FOUND, f"sandbox {sandbox}", "there is none")
        return self.sandboxes[sandbox]

    def kill_all(self) -> None:
        for one in self.containers.values():
            if one.process is not None and one.process.returncode is None:
                signalled(one.process.pid, signal.SIGKILL)

    @asynccontextmanager
    async def exec(self, request: SessionRequest) -> AsyncGenerator[SessionDouble]:
        pipe = asyncio.subprocess.PIPE
        command = request.command
        if request.tty:
            command = ("script", "--quiet", "--return", "--flush", "--command", shlex.join(command), "/dev/null")
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        queue: asyncio.Queue[Output] = asyncio.Queue()

        async def read(source: Any, kind: Any) -> None:
            while data := await source.read(65536):
                queue.put_nowait(kind(data))

        async def pump() -> None:
            async with asyncio.TaskGroup() as both:
                both.create_task(read(process.stdout, Stdout))
                both.create_task(read(process.stderr, Stderr))
            code = await process.wait()
            queue.put_nowait(Exited(code if code >= 0 else 128 - code))

        async with asyncio.TaskGroup() as tasks:
            pumping = tasks.create_task(pump())
            try:
                yield SessionDouble(process, queue)
            finally:
                pumping.cancel()
                if process.returncode is None:
                    process.kill()

    @asynccontextmanager
    async def attach(self, request: SessionRequest) -> AsyncGenerator[SessionDouble]:
        one = self.find(request.container_id)
        assert one.process is not None
        queue: asyncio.Queue[Output] = asyncio.Queue()
        one.viewers.append(queue)
        if one.status.state == cri.CONTAINER_EXITED:
            queue.put_nowait(Exited(one.status.exit_code))
        yield SessionDouble(one.process, queue)

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[TunnelDouble]:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            raise Fault(Kind.UNAVAILABLE, f"port {port}", "connection refused") from error
        try:
            yield TunnelDouble(reader, writer)
        finally:
            writer.close()


class SessionDouble:
    """A session with a process."""

    def __init__(self, process: asyncio.subprocess.Process, queue: asyncio.Queue[Output]) -> None:
        self._process, self._queue = process, queue

    async def write_stdin(self, data: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(data)

    async def close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        pass

    async def output(self) -> AsyncIterator[Output]:
        while True:
            said = await self._queue.get()
            yield said
            if isinstance(said, Exited):
                return


class TunnelDouble:
    """A tunnel to a port of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close_writing(self) -> None:
        self._writer.write_eof()

    async def received(self) -> AsyncIterator[bytes]:
        while data := await self._reader.read(65536):
            yield data


def signalled(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group that may have ended on its own since it was last looked at."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
