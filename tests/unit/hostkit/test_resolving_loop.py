"""Names are asked for where nobody has to wait for the answer, whoever connects by one."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from hostkit.resolving_loop import ResolvingLoop


def test_a_loop_ends_while_a_name_server_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def deaf(*args: Any) -> Any:
        asked.set()
        answered.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", deaf)

    async def dial() -> None:
        dialling = asyncio.create_task(asyncio.open_connection("deaf.test", 1))
        await asyncio.to_thread(asked.wait)
        dialling.cancel()
        await asyncio.wait([dialling])
        assert dialling.cancelled()

    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        runner.run(dial())
    assert not answered.is_set()
    answered.set()


def test_the_first_address_that_answers_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(host: str, port: int, *hints: Any) -> Any:
        assert host == "several.test"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.3", "127.0.0.2")]

    async def dial() -> str:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.2", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setattr(socket, "getaddrinfo", several)
            _, writer = await asyncio.open_connection("several.test", port)
            writer.close()
            return writer.get_extra_info("peername")[0]

    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        assert runner.run(dial()) == "127.0.0.2"


def test_a_name_none_of_whose_addresses_answers_is_refused_as_an_address_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        with asyncio.Runner(loop_factory=ResolvingLoop) as runner, pytest.raises(ConnectionRefusedError):
            runner.run(asyncio.wait_for(asyncio.open_connection("none.test", port), 60))
