"""Work, servers and callers inside network namespaces, and a list of all that such a namespace holds."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cellagent.kernel import namespaces, threads
from cellagent.network import links
from hostkit import programs

Result = TypeVar("Result")
WORLD, CELL, METADATA = "10.3.0.1", "10.3.0.2", "169.254.169.254"
WORLD6, CELL6 = "fd00:3::1", "fd00:3::2"


async def within(netns: Path, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """A coroutine on a thread that lives in a network namespace, and so all programs that it starts."""

    def run() -> Result:
        threads.enter(netns, "net")
        return asyncio.run(work())

    return await threads.on_own_thread(run)


@contextmanager
def answering(netns: Path, address: str, port: int, *, udp: bool = False) -> Generator[None]:
    """A server that tells each caller its address."""
    ready, done = threading.Event(), threading.Event()

    def serve() -> None:
        threads.enter(netns, "net")
        with _socket(address, udp=udp) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((address, port))
            if not udp:
                door.listen()
            door.settimeout(0.05)
            ready.set()
            while not done.is_set():
                try:
                    _answer(door, udp=udp)
                except TimeoutError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        done.set()
        thread.join()


def _answer(door: socket.socket, *, udp: bool) -> None:
    if udp:
        _, who = door.recvfrom(100)
        door.sendto(str(who[0]).encode(), who)
        return
    caller, who = door.accept()
    with caller:
        caller.sendall(str(who[0]).encode())


def _socket(address: str, *, udp: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)


async def ask(netns: Path, address: str, port: int, *, udp: bool = False) -> str:
    """What a server at this address answers to a caller in this namespace."""

    def call() -> str:
        with _socket(address, udp=udp) as door:
            door.settimeout(3)
            door.connect((address, port))
            if udp:
                door.send(b"who am I?")
            return door.recv(100).decode()

    return await namespaces.inside(netns, call)


async def listing(netns: Path) -> list[str]:
    """Links, addresses, routes, rules, proxies and packet rules of a namespace."""

    async def look() -> list[str]:
        said: list[str] = []
        for what in (["link"], ["address"], ["route", "show", "table", "all"], ["rule"], ["neigh", "show", "proxy"]):
            text = (await programs.check(["ip", "-o", *what])).decode()
            # Flags tell of carriers that come and go.
            said += [re.sub(r"<.*?>| qdisc.*| valid_lft.*| linkdown", "", line) for line in text.splitlines()]
        said += (await programs.check(["nft", "list", "ruleset"])).decode().splitlines()
        return sorted(line for line in said if "fe80" not in line and "ff00" not in line)

    return await within(netns, look)


async def make_cell(folder: Path, *, six: bool = False) -> tuple[Path, Path]:
    """A world with a metadata service's address, and a cell on a cable to it."""
    world = (await namespaces.create(folder / "world" / "ns", ["net"]))["net"]
    cell = (await namespaces.create(folder / "cell" / "ns", ["net"]))["net"]

    async def in_world() -> None:
        await links.batch([
            f"link add name eth0 type veth peer name eth0 netns {cell}",
            f"address add {WORLD}/24 dev eth0", f"address add {METADATA}/32 dev eth0", "link set eth0 up",
            *([f"address add {WORLD6}/64 dev eth0 nodad"] if six else []),
        ])  # fmt: skip

    async def in_cell() -> None:
        await links.batch([
            f"address add {CELL}/24 dev eth0", "link set eth0 mtu 1400 up", f"route add default via {WORLD}",
            *([f"address add {CELL6}/64 dev eth0 nodad", f"route add default via {WORLD6}"] if six else []),
        ])  # fmt: skip

    await within(world, in_world)
    await within(cell, in_cell)
    return world, cell
