"""A peer that says nothing any more is noticed, by pings and by the kernel."""

import asyncio
import dataclasses
import socket
from typing import Any

from cellwire.rpc.limits import CELL_SERVER, watch_socket
from cellwire.rpc.serve import prepared


async def test_a_peer_that_answers_no_ping_is_given_up(told: Any) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()

    listener = await asyncio.start_server(swallow, "127.0.0.1", 0)
    limits = dataclasses.replace(CELL_SERVER, ping_after=0.1, ping_wait=0.2)
    lost = asyncio.Event()
    served = prepared([told], details=True, limits=limits).protocol(lambda _: lost.set())
    host, port = listener.sockets[0].getsockname()
    await asyncio.get_running_loop().create_connection(lambda: served, host, port)
    async with asyncio.timeout(20):
        await lost.wait()
    await served.end()
    listener.close()
    await listener.wait_closed()


def test_the_kernel_watches_connections_over_the_network() -> None:
    with socket.socket() as sock:
        watch_socket(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
    with socket.socket(socket.AF_UNIX) as sock:
        watch_socket(sock)
