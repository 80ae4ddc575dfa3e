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

from cellagent.kernel import namespaces, processes, threads

Result = TypeVar("Result")


async def within(netns: Path, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """A coroutine on a thread that lives in a network namespace, and so all programs that it starts."""

    def run() -> Result:
        threads.enter(netns, "net")
        return asyncio.run(work())

    return await threads.on_own_thread(run)


@contextmanager
def answering(netns: Path, address: str, port: int) -> Generator[None]:
    """A server that tells each caller its address."""
    ready, done = threading.Event(), threading.Event()

    def serve() -> None:
        threads.enter(netns, "net")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((address, port))
            door.listen()
            door.settimeout(0.05)
            ready.set()
            while not done.is_set():
                try:
                    caller, who = door.accept()
                except TimeoutError:
                    continue
                with caller:
                    caller.sendall(str(who[0]).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        done.set()
        thread.join()


async def ask(netns: Path, address: str, port: int) -> str:
    """What a server at this address answers to a caller in this namespace."""

    def call() -> str:
        with socket.create_connection((address, port), timeout=3) as door:
            return door.recv(100).decode()

    return await namespaces.inside(netns, call)


async def listing(netns: Path) -> list[str]:
    """Links, addresses, routes, rules, proxies and packet rules of a namespace."""

    async def look() -> list[str]:
        said: list[str] = []
        for what in (["link"], ["address"], ["route", "show", "table", "all"], ["rule"], ["neigh", "show", "proxy"]):
            text = (await processes.check(["ip", "-o", *what])).decode()
            # Flags tell of carriers that come and go.
            said += [re.sub(r"<.*?>| qdisc.*| valid_lft.*| linkdown", "", line) for line in text.splitlines()]
        said += (await processes.check(["nft", "list", "ruleset"])).decode().splitlines()
        return sorted(line for line in said if "fe80" not in line and "ff00" not in line)

    return await within(netns, look)
