"""A cell in the hands of an attacker: the identity of a real instance, and a gRPC server that says what a test wants.

Who is root in a pod with `hostPath: /` has all of this. The identity is taken from the instance's disk, where its own
agent keeps it; the agent is stopped, and the attacker dials the controller's port in its place.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from grpclib.const import Handler

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import SERVER_NAME, client_context, endpoint
from cellagent.link.heartbeat import hello
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceBase, RuntimeServiceBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.reverse import TURNED, serve_on
from cellwire.rpc.serve import prepared
from controller.clouds.local import instance_cgroups
from tests.support.controller import Controller, running_controller
from tests.support.files import below
from tests.support.manifests import COUNT, pod
from tests.support.processes import command_line

SANDBOX = "5a" * 32
REDIAL = 0.3
Answer = Callable[[Any], AsyncIterator[Any]]
"""The replies to one request, as a test wants them."""


class HostileCell:
    """Answers each call as `says`, by the method's name, and all others with UNIMPLEMENTED; `asked` has all calls.

    Without an answer for Report it says hello and lives on, as any cell.
    """

    def __init__(self, identity: CellIdentity, home: Home) -> None:
        self.identity = identity
        self.home = home
        self.name = home.cell
        self.container = ""
        self.says: dict[str, Answer] = {"Report": self._report}
        self.asked: list[tuple[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.connections = 0
        self._visit: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self.ended = ""
        """Why its last connection ended."""
        self._changed = asyncio.Event()
        self._scripted = asyncio.Event()

    def say(self, method: str, *replies: Any, stays: bool = False) -> None:
        """Answer a method with these messages, each time; `stays` where the stream is not ended after them, but goes on
        with what the method is to be answered next.
        """

        async def answer(request: Any) -> AsyncIterator[Any]:
            for reply in replies:
                yield reply
            if stays:
                while (following := self.says[method]) is answer:
                    await self._scripted.wait()
                async for reply in following(request):
                    yield reply

        self.script(method, answer)

    def script(self, method: str, answer: Answer) -> None:
        """Answer a method so."""
        self.says[method] = answer
        self._scripted.set()
        self._scripted = asyncio.Event()

    def refuse(self, method: str, fault: Fault) -> None:
        """Answer a method with a fault."""

        async def answer(request: Any) -> AsyncIterator[Any]:
            raise fault
            yield

        self.script(method, answer)

    def play(self, container: str, sandbox: str = SANDBOX) -> None:
        """Tell, as an honest cell would, of one pod of one container that runs."""
        self.container = container
        status = cri.ContainerStatus(
            id=container,
            metadata=cri.ContainerMetadata(name="main"),
            state=cri.CONTAINER_RUNNING,
            created_at=time.time_ns(),
            started_at=time.time_ns(),
        )
        listed = cri.Container(id=container, metadata=status.metadata, state=status.state, created_at=status.created_at)
        ready = cri.PodSandboxStatus(id=sandbox, state=cri.SANDBOX_READY)
        self.say("ListPodSandbox", cri.ListPodSandboxResponse(items=[cri.PodSandbox(id=sandbox)]))
        self.say("PodSandboxStatus", cri.PodSandboxStatusResponse(status=ready))
        self.say("ListContainers", cri.ListContainersResponse(containers=[listed]))
        self.say("ContainerStatus", cri.ContainerStatusResponse(status=status))
        self.say("GetContainerEvents", stays=True)
        self.say("Logs", stays=True)
        self.say("Services", stays=True)
        self.say("PutFiles", wire.PutFilesReply())
        self.say("ReadFile", wire.ReadFileReply())

    async def dial(self) -> None:
        """Be at home, in place of whoever was; dials again for ever, without an agent's pauses."""

        def connected() -> None:
            self.connections += 1
            self._touch()

        services = [self._service(base) for base in (RuntimeServiceBase, ImageServiceBase, CellBase)]
        server = prepared(services, details=True)
        host, port = endpoint(self.home.controllers[0])
        while self.identity.certificate.exists():  # its instance lives
            context = client_context(self.identity, TURNED)
            self._visit = asyncio.get_running_loop().create_task(
                serve_on(server, host, port, context, SERVER_NAME, connected)
            )
            try:
                leaving = asyncio.get_running_loop().create_task(self._leave.wait())
                # Who leaves waits for none of its own calls.
                await asyncio.wait([self._visit, leaving], return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                self._leave.clear()
                if self._visit.done() and not self._visit.cancelled():
                    self.ended = str(self._visit.exception() or "")
            finally:
                self._visit.cancel()
            await asyncio.sleep(REDIAL)

    def redial(self) -> None:
        """End the connection, for another."""
        self._leave.set()

    async def until(self, happened: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something has happened that a call or connection brings about."""
        async with asyncio.timeout(seconds):
            while not happened():
                self._changed.clear()
                await self._changed.wait()

    async def until_asked(self, method: str, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until a method was called so often."""
        await self.until(lambda: sum(name == method for name, _ in self.asked) >= times, seconds)

    def _touch(self) -> None:
        self._changed.set()

    async def _report(self, request: Any) -> AsyncIterator[wire.ReportMessage]:
        yield wire.ReportMessage(hello=hello(self.name, "0.1.0", {}, "none"))
        every = self.home.cell_settings().heartbeat_interval_ms / 1000
        while True:
            yield wire.ReportMessage(heartbeat=wire.Heartbeat(at=time.time()))
            await asyncio.sleep(every)

    def _service(self, base: type) -> Any:
        async def missing(this: Any, stream: Any) -> None:
            del this, stream

        cell = self

        def mapping(this: Any) -> dict[str, Handler]:
            known: dict[str, Handler] = base.__mapping__(this)  # type: ignore[attr-defined]
            return {
                path: Handler(cell._handler(path.rpartition("/")[2]), one.cardinality, one.request_type, one.reply_type)
                for path, one in known.items()
            }

        methods: dict[str, Any] = dict.fromkeys(base.__abstractmethods__, missing)  # type: ignore[attr-defined]
        return type(base.__name__, (base,), methods | {"__mapping__": mapping})()

    def _handler(self, method: str) -> Callable[[Any], Awaitable[None]]:
        async def handle(stream: Any) -> None:
            request = await stream.recv_message()
            self.asked.append((method, request))
            self._touch()
            answer = self.says.get(method)
            if answer is None:
                raise Fault(Kind.UNSUPPORTED, "the attacker", f"has no answer to {method}")
            async for reply in answer(request):
                await stream.send_message(reply)
            self.answered[method] += 1
            self._touch()

        return handle


def disk_of(controller: Controller, instance: str) -> Path:
    """What a local instance sees as /var/lib/chinampa."""
    disks = (path for path in below(controller.cloud.root) if path.parts[-2:] == (instance, "disk"))
    return next(disks) / "chinampa"


def agents_of(controller: Controller, instance: str) -> set[int]:
    """The processes of an instance's agent, as this machine numbers them."""
    pids = instance_cgroups.Groups(controller.cloud.cluster, controller.cloud.cgroup_parent).pids(instance)
    return {pid for pid in pids if b"cellagent" in command_line(pid)}


def sandbox_of(controller: Controller, cell: dict[str, Any]) -> str:
    """The id of a cell's one sandbox, as its agent has it."""
    agents = agents_of(controller, str(cell["instance"]))
    found = {one.name for pid in agents for one in Path(f"/proc/{pid}/root/run").glob("chinampa/sandboxes/*")}
    (sandbox,) = found
    return sandbox


@asynccontextmanager
async def in_place_of_its_agent(
    controller: Controller, cell: dict[str, Any]
) -> AsyncGenerator[tuple[CellIdentity, Home]]:
    """The identity of a cell (as `Controller.cells` tells it), whose own agent stands still meanwhile."""
    instance = str(cell["instance"])
    identity = CellIdentity(disk_of(controller, instance) / "identity")
    while (home := identity.home()) is None:
        # The controller knows of a join before the cell has read the answer.
        await asyncio.sleep(0.02)
    stopped = agents_of(controller, instance)
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield identity, home
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def taken_over(controller: Controller, pod: str) -> AsyncGenerator[HostileCell]:
    """The cell of this pod in the attacker's hands, playing along at first."""
    container, cell = await container_of(controller, pod), await cell_of(controller, pod)
    async with hostile_cell(controller, cell, container, sandbox_of(controller, cell)) as hostile:
        yield hostile


@asynccontextmanager
async def hostile_cell(
    controller: Controller, cell: dict[str, Any], container: str = "", sandbox: str = SANDBOX
) -> AsyncGenerator[HostileCell]:
    """A cell (as `Controller.cells` tells it) in the attacker's hands, playing along at first."""
    async with in_place_of_its_agent(controller, cell) as (identity, home):
        hostile = HostileCell(identity, home)
        hostile.play(container, sandbox)
        dialling = asyncio.get_running_loop().create_task(hostile.dial())
        try:
            yield hostile
        finally:
            dialling.cancel()
            with suppress(asyncio.CancelledError):
                await dialling


def peak_begins(controller: Controller) -> int:
    """Bytes of memory that the controller holds now; `peak` is the most from here on."""
    assert controller.process is not None
    Path(f"/proc/{controller.process.pid}/clear_refs").write_text("5")
    return _memory(controller, "VmRSS")


def peak(controller: Controller) -> int:
    """The most bytes of memory that the controller has held since `peak_begins`."""
    return _memory(controller, "VmHWM")


def _memory(controller: Controller, what: str) -> int:
    assert controller.process is not None
    lines = Path(f"/proc/{controller.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


async def cell_of(controller: Controller, pod: str) -> dict[str, Any]:
    """The connected cell of a pod, as `Controller.cells` tells it."""
    (found,) = [cell for cell in await controller.cells() if cell["pod"] == f"default/{pod}" and cell["connected"]]
    return found


async def container_of(controller: Controller, pod: str) -> str:
    """The id of a pod's first container."""
    known = "jsonpath={.status.containerStatuses[0].containerID}"
    return (await controller.kubectl("get", "pod", pod, "-o", known)).partition("://")[2]


class Honest:
    """A pod beside the attacker's, that counts aloud: what it must keep, whatever happens."""

    NAME = "honest"

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._seen = 0

    async def holds(self) -> None:
        """It runs as before, each of its lines is there once and more have come, and exec is answered."""
        kubectl = self._controller.kubectl
        await self._controller.until(
            lambda cells: any(cell["connected"] for cell in cells if cell["pod"] == f"default/{self.NAME}")
        )
        shown = await kubectl("get", "pod", self.NAME)
        assert re.search(r"1/1 +Running +0 ", shown), f"{shown}\n{self._controller.words()}"
        before = self._seen
        async with asyncio.timeout(30):
            while self._seen <= before:
                lines = (await kubectl("logs", self.NAME)).splitlines()
                assert lines == [f"line {number}" for number in range(1, len(lines) + 1)], lines[-5:]
                self._seen = len(lines)
        assert "there" in await kubectl("exec", self.NAME, "--", "echo", "there", seconds=30)


@asynccontextmanager
async def beside_pods(
    folder: Path, *names: str, more: str = "", lease: int = 10, prefix: tuple[str, ...] = ()
) -> AsyncGenerator[tuple[Controller, Honest]]:
    """A controller, pods whose cells are to be in an attacker's hands, and an honest pod."""
    async with running_controller(folder, more, lease, prefix) as controller:
        await controller.kubectl("apply", "-f", "-", stdin="".join(map(pod, names)) + pod(Honest.NAME, COUNT))
        pods = [f"pod/{name}" for name in (*names, Honest.NAME)]
        await controller.kubectl("wait", "--for=condition=Ready", *pods, "--timeout=300s", seconds=310)
        honest = Honest(controller)
        await honest.holds()
        yield controller, honest


@asynccontextmanager
async def beside_an_attacker(folder: Path, more: str = "") -> AsyncGenerator[tuple[Controller, HostileCell, Honest]]:
    """A controller, the cell of the pod "evil" in an attacker's hands, and an honest pod."""
    async with beside_pods(folder, "evil", more=more) as (controller, honest):
        async with taken_over(controller, "evil") as cell:
            yield controller, cell, honest
