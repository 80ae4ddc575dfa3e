"""Asks a container something, as probes and hooks do: by a command, HTTP, TCP or gRPC.

What needs the network goes through a tunnel to the pod's own loopback, as port-forward does, since the controller may
not reach the pod.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Protocol

import h2.connection
import h2.events
import h2.exceptions
import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from cellwire.stream.remote import RemoteBackend
from controller.objects.schema.containers import (
    AnyContainer,
    GRPCAction,
    HTTPGetAction,
    LifecycleHandler,
    Probe,
    TCPSocketAction,
)
from controller.sandboxes.cell_calls import QUICK
from controller.sandboxes.cell_client import OneCell

# Enough for a status line; the rest of an answer is of no interest.
STATUS_LINE = 4096
# Of what a command prints, for people.
SHOWN = 512
# A health service answers with some frames, and may send settings and pings beside them. Frames cost by their number:
# a pod's bytes are taken in a little at a time.
LONGEST_HEALTH, STEP = 64 << 10, 1 << 10
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = 1

Handler = Probe | LifecycleHandler


class ProbeStream(Protocol):
    """A connection to a port of a pod."""

    async def write(self, data: bytes, /) -> None:
        """Send bytes."""
        ...

    def received(self) -> AsyncIterator[Piece]:
        """What comes back."""
        ...


class Asked(msgspec.Struct, frozen=True):
    """Whom to ask: the container as it is declared, the id of its present start, its pod's sandbox."""

    container: AnyContainer
    id: str
    sandbox: str


async def answered(there: OneCell, handler: Handler, asked: Asked, seconds: float) -> str:
    """Nothing where the answer was good within so many seconds, else what was wrong with it."""
    sleep = handler.sleep if isinstance(handler, LifecycleHandler) else None
    try:
        async with asyncio.timeout(seconds + 1 if handler.exec is not None else seconds):
            if handler.exec is not None:
                wanted = cri.ExecSyncRequest(
                    container_id=asked.id, cmd=handler.exec.command, timeout=max(1, round(seconds))
                )
                reply = await there.exec_sync(wanted, seconds + QUICK)
                said = (reply.stdout[:SHOWN] + reply.stderr[:SHOWN]).decode(errors="replace")[:SHOWN]
                return "" if reply.exit_code == 0 else said or f"the command ended with exit code {reply.exit_code}"
            if sleep is not None:
                await asyncio.sleep(sleep.seconds or 0)
                return ""
            return await _dialled(there, handler, asked)
    except TimeoutError:
        return f"no answer within {seconds:.0f} s"
    except (Fault, ssl.SSLError) as fault:
        return str(fault)


async def _dialled(there: OneCell, handler: Handler, asked: Asked) -> str:
    grpc = handler.grpc if isinstance(handler, Probe) else None
    where = handler.httpGet or handler.tcpSocket or grpc
    if where is None:
        raise Fault(Kind.INVALID, f"container {asked.container.name}", "a probe or hook of it says nothing to do")
    channel = await there.connect()
    port = _port(where.port, asked.container)
    async with RemoteBackend(lambda: channel).port_forward(asked.sandbox, port) as tunnel:
        match where:
            case TCPSocketAction():
                return ""
            case GRPCAction():
                return await _health(tunnel, where.service)
            case HTTPGetAction(scheme="HTTPS"):
                return _failure(await _over_tls(tunnel, _request(where, asked.container)))
            case HTTPGetAction():
                return _failure(await _over_http(tunnel, _request(where, asked.container)))


async def _over_http(tunnel: ProbeStream, request: bytes) -> bytes:
    """Ask by HTTP, for the beginning of the answer."""
    await tunnel.write(request)
    answer = b""
    async for data in tunnel.received():
        answer += data
        if b"\n" in answer or len(answer) > STATUS_LINE:
            break
    return answer


async def _over_tls(tunnel: ProbeStream, request: bytes) -> bytes:
    """Ask by TLS; whose the certificate is, no probe checks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    received = tunnel.received()
    sent, answer = False, b""
    while b"\n" not in answer and len(answer) <= STATUS_LINE:
        try:
            if not sent:
                session.do_handshake()
                session.write(request)
                sent = True
            data = session.read(STATUS_LINE)
            if not data:
                break
            answer += data
            continue
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            break
        if told := outgoing.read():
            await tunnel.write(told)
        try:
            incoming.write(await anext(received))
        except StopAsyncIteration:
            break
    return answer


async def _health(tunnel: ProbeStream, service: str) -> str:
    """Ask the standard health service of gRPC."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", _HEALTH),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/chinampa"),
    ]
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    connection.send_headers(1, headers)
    connection.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    await tunnel.write(connection.data_to_send())
    body, status = b"", ""
    async for part in _slowly(tunnel.received()):
        try:
            events = connection.receive_data(part)
        except (h2.exceptions.ProtocolError, ValueError, LookupError):  # h2 trusts that headers are ASCII
            return "the answer is not gRPC"
        for event in events:
            match event:
                case h2.events.DataReceived(data=data):
                    body += data or b""
                case h2.events.ResponseReceived(headers=told) | h2.events.TrailersReceived(headers=told):
                    found = (text for name, text in told or () if name == b"grpc-status")
                    status = next(found, status.encode()).decode(errors="replace")
                case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return _healthy(body, status)
                case _:
                    pass
        if reply := connection.data_to_send():
            await tunnel.write(reply)
    return "the connection was closed, or its beginning was too long, without an answer"


async def _slowly(received: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """The beginning of what comes, in steps between which others have their turn."""
    left = LONGEST_HEALTH
    async for data in received:
        for begin in range(0, min(len(data), left), STEP):
            yield data[begin : begin + STEP]
            await asyncio.sleep(0)
        left -= len(data)
        if left <= 0:
            return


def _healthy(body: bytes, status: str) -> str:
    if status not in {"", "0"}:
        return f"service unhealthy: gRPC status {status}"
    # grpc.health.v1.HealthCheckResponse: field 1, a number.
    serving = len(body) >= 7 and body[5] == 0x08 and body[6] == _SERVING
    return "" if serving else "service unhealthy: it does not say SERVING"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _port(port: int | str, container: AnyContainer) -> int:
    if isinstance(port, int):
        return port
    for one in container.ports:
        if one.name == port:
            return one.containerPort
    raise Fault(Kind.INVALID, f"port {port}", f"no port of the container {container.name} has this name")


def _request(asked: HTTPGetAction, container: AnyContainer) -> bytes:
    given = [(one.name, one.value) for one in asked.httpHeaders]
    names = {name.lower() for name, _ in given}
    usual = {
        "Host": f"localhost:{_port(asked.port, container)}",
        "User-Agent": "kube-probe/chinampa",
        "Accept": "*/*",
    }
    headers = [*((name, value) for name, value in usual.items() if name.lower() not in names), *given]
    path = asked.path or "/"
    path = path if path.startswith("/") else f"/{path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "Connection: close"]
    return ("\r\n".join(line.replace("\r", "").replace("\n", "") for line in lines) + "\r\n\r\n").encode()


def _failure(answer: bytes) -> str:
    words = answer.split(b"\n", 1)[0].split()
    if len(words) < 2 or not words[1].isdigit() or len(words[1]) != 3:
        return "the answer is not HTTP"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
