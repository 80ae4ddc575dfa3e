"""Much data, slow peers and many sessions at a runtime's streaming URLs, whichever end gives them.

STREAM_MIB says how much the tests that carry much carry: 32 by default; 1024 is the long run.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceStub
from cellwire.rpc.call import call
from tests.support.spdy_client import ClientStream, SpdyConnection, connected, exit_code
from tests.support.waiting import until

MIB = 1 << 20
MUCH = int(os.environ.get("STREAM_MIB", "32")) * MIB
HELD = 96 * MIB
"""More than all on the way may hold: pipes, inboxes, windows of the cell's connection, and two pairs of sockets, of
which the kernel lets each grow to 36 MiB while its reader is quick.
"""
GROWTH = 32 * MIB
"""Bytes by which a process may grow on the way: the windows of one call (4 MiB) at both ends, and what malloc keeps."""
MANY = 200
SAYING, HEARING, ECHOING = 8080, 8081, 8082
BLOCK = 65536
BLOCKS = min(MUCH * 4, 4 << 30) // BLOCK - 1
"""What goes one way, in blocks: fewer bytes than busybox's `wc` can count, in 32 bits."""
GO = "/tmp/go"
SAY = f"busybox ln -sf /dev/zero /tmp/{{word}}; exec dd if=/tmp/{{word}} bs={BLOCK} count={{count}} 2>/dev/null"
STAY = f"busybox rm -f {GO}"
HEAR = f"until test -e {GO}; do sleep 0.05; done; busybox wc -c"


class Flow:
    """Sessions with one container of a pod, and the processes through which their bytes go."""

    def __init__(self, stub: RuntimeServiceStub, sandbox: str, container: str, on_the_way: Iterable[int]) -> None:
        self._stub = stub
        self._sandbox = sandbox
        self._container = container
        self._on_the_way = tuple(on_the_way)
        self.word = f"zeroes-{secrets.token_hex(4)}"
        """On the command line of what says much in this pod, and of nothing else on this machine."""

    @asynccontextmanager
    async def exec(self, *command: str, stdin: bool = True) -> AsyncGenerator[dict[str, ClientStream]]:
        """Streams of one command, without standard error."""
        request = cri.ExecRequest(container_id=self._container, cmd=command, stdin=stdin, stdout=True)
        url = (await call(self._stub.Exec, request, deadline=60)).url
        async with connected(url, limit=BLOCK) as client:
            yield await client.open_all("error", *(["stdin"] if stdin else []), "stdout")

    @asynccontextmanager
    async def forward(self) -> AsyncGenerator[SpdyConnection]:
        """A connection on which ports are forwarded."""
        request = cri.PortForwardRequest(pod_sandbox_id=self._sandbox)
        url = (await call(self._stub.PortForward, request, deadline=60)).url
        async with connected(url, ("portforward.k8s.io",), limit=BLOCK) as client:
            yield client

    async def run(self, command: str) -> bytes:
        """What a shell command says."""
        request = cri.ExecSyncRequest(container_id=self._container, cmd=["sh", "-c", command], timeout=30)
        return (await call(self._stub.ExecSync, request, deadline=60)).stdout

    async def serve_ports(self) -> None:
        """Have the pod listen: one port says zeroes, one hears when told to, one echoes."""
        say, hear = SAY.format(word=self.word, count=BLOCKS), HEAR
        for port, command in ((SAYING, f"sh -c '{say}'"), (HEARING, f"sh -c '{hear}'"), (ECHOING, "cat")):
            await self.run(f"nc -ll -p {port} -e {command} >/dev/null 2>&1 </dev/null &")
            listens = f"until cat /proc/net/tcp* | busybox grep -q ':{port:X} '; do sleep 0.02; done"
            await self.run(listens)

    @asynccontextmanager
    async def flat(self) -> AsyncGenerator[None]:
        """Nothing on the way grows by what is carried."""
        before = {pid: _resident(pid) for pid in self._on_the_way}
        yield
        grown = {pid: _resident(pid) - size for pid, size in before.items()}
        assert all(size < GROWTH for size in grown.values()), grown


async def exec_is_whole_both_ways(flow: Flow) -> None:
    """What goes into `cat` comes out of it, and the processes on the way do not grow."""
    async with flow.exec("cat") as streams, flow.flat():
        await _there_and_back(streams["stdin"], streams["stdout"])
        assert exit_code(await streams["error"].read_all()) == 0


async def port_forward_is_whole_both_ways(flow: Flow) -> None:
    """What goes to a port comes back of it, and the processes on the way do not grow."""
    async with flow.forward() as client, flow.flat():
        data, error = await pair(client, ECHOING)
        await _there_and_back(data, data)
        assert await error.read_all() == b""


async def a_slow_reader_holds_what_a_command_says(flow: Flow) -> None:
    """Nothing is read: the command waits, and memory is flat; then it is read, and nothing is missing."""
    async with flow.exec("sh", "-c", SAY.format(word=flow.word, count=BLOCKS), stdin=False) as streams:
        await _is_held(flow, streams["stdout"])
        assert exit_code(await streams["error"].read_all()) == 0


async def a_slow_reader_holds_what_a_port_says(flow: Flow) -> None:
    """The same for a forwarded port."""
    async with flow.forward() as client:
        data, _ = await pair(client, SAYING)
        await _is_held(flow, data)


async def a_command_that_does_not_read_holds_its_client(flow: Flow) -> None:
    """Input waits at the client, and memory is flat, until the command reads; then it gets all of it."""
    await flow.run(STAY)
    async with flow.exec("sh", "-c", HEAR) as streams:
        await _holds(flow, streams["stdin"])
        assert int(await streams["stdout"].read_all()) == BLOCKS * BLOCK
        assert exit_code(await streams["error"].read_all()) == 0


async def a_port_that_does_not_read_holds_its_client(flow: Flow) -> None:
    """The same for a forwarded port."""
    await flow.run(STAY)
    async with flow.forward() as client:
        data, _ = await pair(client, HEARING)
        await _holds(flow, data)
        assert int(await data.read_all()) == BLOCKS * BLOCK


async def many_commands_run_at_once(flow: Flow) -> None:
    """All sessions are there before the first one ends, and each has its own bytes."""
    greeted, everybody = asyncio.Semaphore(0), asyncio.Event()

    async def one(number: int) -> None:
        async with flow.exec("cat") as streams:
            await streams["stdin"].write(b"hello")
            assert await streams["stdout"].read() == b"hello"
            greeted.release()
            await everybody.wait()
            said = f"session {number} ".encode() * 5000
            await streams["stdin"].write(said, fin=True)
            assert await streams["stdout"].read_all() == said
            assert exit_code(await streams["error"].read_all()) == 0

    async with asyncio.TaskGroup() as tasks:
        for number in range(MANY):
            tasks.create_task(one(number))
        for _ in range(MANY):
            await greeted.acquire()
        everybody.set()


async def many_connections_are_forwarded_at_once(flow: Flow) -> None:
    """The same for pairs of streams on one connection."""
    greeted, everybody = asyncio.Semaphore(0), asyncio.Event()

    dialling = asyncio.Semaphore(4)  # the pod's small server lets few wait to be accepted

    async def one(client: SpdyConnection, number: int) -> None:
        async with dialling:
            data, error = await pair(client, ECHOING, number)
            await data.write(b"hello")
            assert await data.read() == b"hello"
        greeted.release()
        await everybody.wait()
        said = f"connection {number} ".encode() * 500
        await data.write(said, fin=True)
        assert await data.read_all() == said
        assert await error.read_all() == b""

    async with flow.forward() as client, asyncio.TaskGroup() as tasks:
        for number in range(MANY):
            tasks.create_task(one(client, number))
        for _ in range(MANY):
            await greeted.acquire()
        everybody.set()


async def pair(client: SpdyConnection, port: int, request: int = 0) -> tuple[ClientStream, ClientStream]:
    """Data and error stream of a forwarded connection."""
    headers = {"port": str(port), "requestID": str(request)}
    error = await client.open({"streamType": "error", **headers})
    return await client.open({"streamType": "data", **headers}), error


async def _there_and_back(to: ClientStream, back: ClientStream) -> None:
    sent, came = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        for _ in range(MUCH // MIB):
            data = os.urandom(MIB)
            sent.update(data)
            await to.write(data)
        await to.finish()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        while data := await back.read():
            came.update(data)
    assert back.received == MUCH
    assert sent.digest() == came.digest()


async def _is_held(flow: Flow, stream: ClientStream) -> None:
    assert await stream.read()
    async with flow.flat():
        written = await _settled(lambda: _written(flow.word))
    assert 0 < written < HELD, written
    while await stream.read():
        pass
    assert stream.received == BLOCKS * BLOCK


async def _holds(flow: Flow, stream: ClientStream) -> None:
    taken = 0

    async def send() -> None:
        nonlocal taken
        for _ in range(BLOCKS):
            await stream.write(bytes(BLOCK))
            taken += BLOCK
        await stream.finish()

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        async with flow.flat():
            assert 0 < await _settled(lambda: taken) < HELD, taken
        assert not sending.done()
        await flow.run(f"busybox touch {GO}")


async def _settled(look: Callable[[], int]) -> int:
    """What a growing number comes to, once it has begun and then stood still for a second."""
    await until(look)
    same, last = 0, look()
    while same < 10:
        await asyncio.sleep(0.1)
        now = look()
        same, last = (same + 1 if now == last else 0), now
    return last


def _written(word: str) -> int:
    """Bytes that were written by the process of the pod with this word on its command line which wrote the most.

    (busybox runs dd in the shell that asks for it, so the word may be anywhere in it.)
    """
    found = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if word.encode() in (entry / "cmdline").read_bytes():
                lines = (entry / "io").read_text().splitlines()
                found = max(found, *(int(line.split()[1]) for line in lines if line.startswith("wchar")))
    return found


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
