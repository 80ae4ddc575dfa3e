"""The clock of a pull: it stands still for so long, and no longer, and to wait as a registry asks is no standstill."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator

import pytest

from cellagent.images import pull_process
from cellagent.images.manifest import Descriptor
from cellagent.images.messages import PullDelayed, PullProgress
from cellagent.images.pull_process import ProgressTeller
from cellagent.images.unpackers import Unpackers
from tests.support.waiting import until

# Longer than any machine stands still: no test waits for it.
STALL = 600.0


class Clock:
    """The seconds that a pull counts."""

    def __init__(self) -> None:
        self.now = 1024.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still, however long the machine takes."""
    made = Clock()
    monkeypatch.setattr(pull_process, "time", made)
    return made


async def test_a_wait_that_a_registry_asks_for_comes_on_top_of_what_a_pull_may_stand_still() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        before = loop.time()
        teller.waits("it says so", 9.0)
        await asyncio.sleep(0)
    assert before + STALL + 9.0 <= (stall.when() or 0.0) <= loop.time() + STALL + 9.0


async def test_bytes_that_arrive_after_a_wait_count_from_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.waits("it says so", 3600.0)
        teller.arrived(1)
        await asyncio.sleep(0)
    assert (stall.when() or 0.0) <= loop.time() + STALL
    delayed, progress = told
    assert isinstance(delayed, PullDelayed)
    assert isinstance(progress, PullProgress)


async def test_a_registry_that_sends_nothing_is_named_in_time_and_not_again_at_once(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        clock.now += pull_process.QUIET_SECONDS
        watch = asyncio.create_task(teller.watch())
        await asyncio.sleep(3 * pull_process.LOOK_SECONDS)
        assert told == []  # nobody was asked yet
        teller.asks("r.example")
        await until(lambda: told)
        await asyncio.sleep(3 * pull_process.LOOK_SECONDS)
        watch.cancel()
    (said,) = told
    assert isinstance(said, PullDelayed)
    assert said.why == "no answer of r.example yet, 4 s after the image was asked for"


@pytest.mark.parametrize(("asked", "said"), [(1.0, 0), (pull_process.QUIET_SECONDS, 1)])
async def test_short_waits_are_no_news_until_they_add_up(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, asked: float, said: int
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.waits("registry r.example: it answered 503", asked)
        await asyncio.sleep(0)
    assert len(told) == said
    told.clear()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        clock.now += pull_process.QUIET_SECONDS
        teller.waits("registry r.example: it answered 503", asked)
        await asyncio.sleep(0)
    assert told == [PullDelayed(image="r.example/a:1", why="registry r.example: it answered 503")]


class Registry:
    """Sends a blob, as much at once as anybody takes."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes]:
        yield self._blob


def _read(connection: socket.socket, *, all_of_it: bool) -> bool:
    """Whether there is a byte of a blob (left where it is), or its end."""
    try:
        while connection.recv(1 << 16, socket.MSG_DONTWAIT | (0 if all_of_it else socket.MSG_PEEK)):
            if not all_of_it:
                return True
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("taken_in", [False, True], ids=["in the middle of a layer", "at its end"])
async def test_a_registry_is_not_blamed_while_what_it_sent_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, taken_in: bool
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    layer = Descriptor("", "sha256:0", 4 << 20)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    async with asyncio.timeout(None) as stall, asyncio.TaskGroup() as group:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.begins(layer.size, 1)
        with ours, theirs, teller.fetching():
            teller.asks("r.example")
            blob = Registry(bytes(layer.size))
            unpacking = group.create_task(Unpackers(ours, 0).unpack("", layer, "", blob, teller))
            await asyncio.sleep(0)
            _, (number,), _, _ = socket.recv_fds(theirs, 1 << 16, 1)
            with socket.socket(fileno=number) as slow:
                await until(lambda: _read(slow, all_of_it=taken_in))
                told.clear()
                monkeypatch.setattr(pull_process, "QUIET_SECONDS", 0.0)
                watch = group.create_task(teller.watch())
                await until(lambda: told)
                watch.cancel()
                unpacking.cancel()
                await asyncio.wait([unpacking])
    assert all(isinstance(said, PullDelayed) for said in told)
    assert re.fullmatch(r"what has come of it is still being unpacked \(\d+ s by now\)", getattr(told[0], "why", ""))


async def test_a_registry_that_is_silent_for_one_layer_is_named_though_another_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.begins(2, 2)
        told.clear()
        clock.now += pull_process.QUIET_SECONDS
        with teller.fetching(), teller.fetching(), teller.held("it is unpacked"):
            teller.asks("r.example")
            watch = asyncio.create_task(teller.watch())
            await until(lambda: told)
            watch.cancel()
    (said,) = told
    assert isinstance(said, PullDelayed)
    assert said.why.startswith("r.example has sent nothing for ")
