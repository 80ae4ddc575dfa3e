"""500 MB through exec and through port-forward, out of a pod and into it: our agent alone beside containerd, in turn.

A SPDY/3.1 client at each runtime's streaming server. The ratio is the worst of the four.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
from collections.abc import Awaitable, Callable, Sequence

from bench._runtimes import Runtime, all_alone, report
from bench._spdy import AT_ONCE, FRAME, Counter, upgraded
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call

SIZE = 500_000_000
BLOCK = 62_500
ROUNDS = 5
SAY = f"dd if=/dev/zero bs={BLOCK} count={SIZE // BLOCK} 2>/dev/null"
# A whole block is waited for, so that the count is one of bytes.
HEAR = f"dd of=/dev/null bs={BLOCK} count={SIZE // BLOCK} iflag=fullblock 2>/dev/null && echo heard"
HEARD = len("heard\n")
SAYING, HEARING = 8080, 8081
SERVER = f'nc -ll -p {SAYING} -e sh -c "{SAY}" & nc -ll -p {HEARING} -e sh -c "{HEAR}" & sleep 3600'
FORWARD = "portforward.k8s.io"
COMMAND = "v4.channel.k8s.io"


async def exec_url(runtime: Runtime, container: str, command: str, *, stdin: bool) -> str:
    request = cri.ExecRequest(container_id=container, cmd=["sh", "-c", command], stdin=stdin, stdout=True)
    return (await call(runtime.stub.Exec, request, deadline=10)).url


async def forward_url(runtime: Runtime, sandbox: str) -> str:
    request = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=[SAYING, HEARING])
    return (await call(runtime.stub.PortForward, request, deadline=10)).url


def exec_out(url: str) -> None:
    with upgraded(url, COMMAND) as client:
        client.open(streamtype="error")
        assert client.count(client.open(streamtype="stdout")) == SIZE


def exec_in(url: str) -> None:
    with upgraded(url, COMMAND) as client:
        client.open(streamtype="error")
        stdin, stdout = client.open(streamtype="stdin"), client.open(streamtype="stdout")
        client.send(stdin, SIZE)
        assert client.count(stdout) == HEARD


def _pair(client: Counter, port: int) -> int:
    client.open(streamtype="error", port=str(port), requestid="1")
    return client.open(streamtype="data", port=str(port), requestid="1")


def forward_out(url: str) -> None:
    with upgraded(url, FORWARD) as client:
        assert client.count(_pair(client, SAYING)) == SIZE


def forward_in(url: str) -> None:
    with upgraded(url, FORWARD) as client:
        data = _pair(client, HEARING)
        client.send(data, SIZE)
        assert client.count(data) == HEARD


def client_alone() -> float:
    """Seconds that the client takes for as many bytes in the same frames from a plain socket."""
    ours, theirs = socket.socketpair()
    frame = (1).to_bytes(4, "big") + FRAME.to_bytes(4, "big") + bytes(FRAME)
    frames, whole = frame * AT_ONCE, SIZE // (FRAME * AT_ONCE)

    def send() -> None:
        for _ in range(whole):
            theirs.sendall(frames)
        theirs.sendall(b"\0\0\0\1\1\0\0\0")

    begun = asyncio.get_running_loop().time()
    sending = threading.Thread(target=send)
    sending.start()
    assert Counter(ours).count(1) == whole * AT_ONCE * FRAME
    sending.join()
    ours.close()
    theirs.close()
    return asyncio.get_running_loop().time() - begun


async def compare(runtimes: Sequence[Runtime]) -> float:
    """All four, in turn; the worst ratio."""
    pods = {runtime.name: await runtime.pod("sh", "-c", SERVER) for runtime in runtimes}

    async def one(what: str, url: Callable[[Runtime], Awaitable[str]], work: Callable[[str], None]) -> float:
        for turn in range(ROUNDS + 1):
            for runtime in runtimes:
                if turn == 1:
                    runtime.times.pop(what, None)
                await runtime.timed(what, asyncio.to_thread(work, await url(runtime)))
        speeds = (f"{one.name} {SIZE / statistics.median(one.times[what]) / 1e6:7.0f} MB/s" for one in runtimes)
        print(f"{what:<28} {'   '.join(speeds)}")
        return report(what, runtimes, what)

    return max(
        await one("exec, out", lambda r: exec_url(r, pods[r.name][1], SAY, stdin=False), exec_out),
        await one("exec, in", lambda r: exec_url(r, pods[r.name][1], HEAR, stdin=True), exec_in),
        await one("port-forward, out", lambda r: forward_url(r, pods[r.name][0]), forward_out),
        await one("port-forward, in", lambda r: forward_url(r, pods[r.name][0]), forward_in),
    )


async def main() -> None:
    print(f"the client, from a plain socket: {SIZE / client_alone() / 1e6:.0f} MB/s")
    async with all_alone() as runtimes:
        ratio = await compare(runtimes)
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
