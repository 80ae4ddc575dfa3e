"""A cell that is kept waiting at one address dials the next beside it, and gives up no place for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cellagent.link.home import at_one_of
from cellagent.link.redialling import RedialWindow
from cellwire.cell.v1 import cell_pb2 as wire

SOON, NEVER = 0.01, 3600.0


class Addresses:
    """What becomes of a dial to each: it connects, is refused, or waits until it is told to connect."""

    def __init__(self, **fates: str) -> None:
        self._fates = fates
        self.dialled: list[str] = []
        self.left: list[str] = []
        self.open = asyncio.Event()
        self.connected = 0

    async def visit(self, address: str, won: Callable[[], None]) -> float:
        self.dialled.append(address)
        try:
            match self._fates[address]:
                case "refused":
                    self.open.set()
                    return 0.0
                case "frozen":
                    await asyncio.Event().wait()
                case "busy":
                    await self.open.wait()
                case _:
                    pass
            won()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.left.append(address)
            raise
        return 60.0

    async def dial(self, head_start: float) -> tuple[float, int]:
        def connected() -> None:
            self.connected += 1

        async with asyncio.timeout(10):
            return await at_one_of(tuple(self._fates), head_start, self.visit, connected)


async def test_a_frozen_controller_keeps_no_cell_from_the_next() -> None:
    addresses = Addresses(a="frozen", b="connects")
    assert await addresses.dial(SOON) == (60.0, 2)
    assert (addresses.left, addresses.connected) == (["a"], 1)


async def test_of_two_who_take_the_cell_in_one_moment_the_first_has_it() -> None:
    told = list[Callable[[], None]]()
    connected, left = list[int](), list[str]()

    async def visit(address: str, won: Callable[[], None]) -> float:
        told.append(won)
        if len(told) == 2:
            # By their connections, before either task runs again.
            for each in told:
                asyncio.get_running_loop().call_soon(each)
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            left.append(address)
            raise
        return 60.0

    async with asyncio.timeout(10):
        assert await at_one_of(("a", "b"), 0.0, visit, lambda: connected.append(1)) == (60.0, 2)
    assert (connected, left) == ([1], ["b"])


async def test_who_waits_at_a_busy_controller_keeps_its_place_there() -> None:
    addresses = Addresses(a="busy", b="refused")
    assert await addresses.dial(SOON) == (60.0, 2)
    assert addresses.dialled == ["a", "b"]
    assert (addresses.left, addresses.connected) == ([], 1)


async def test_a_refusal_beside_one_who_waits_has_the_next_dialled_at_once() -> None:
    addresses = Addresses(a="frozen", b="refused", c="connects")
    assert await addresses.dial(SOON) == (60.0, 3)
    assert addresses.left == ["a"]


async def test_who_connects_or_is_refused_in_time_dials_one() -> None:
    for fate, held in (("connects", 60.0), ("refused", 0.0)):
        addresses = Addresses(a=fate, b="connects")
        assert await addresses.dial(NEVER) == (held, 1)
        assert addresses.dialled == ["a"]


async def test_a_caller_who_leaves_leaves_no_dial() -> None:
    addresses = Addresses(a="frozen", b="frozen")
    task = asyncio.create_task(addresses.dial(SOON))
    while len(addresses.dialled) < 2:
        await asyncio.sleep(SOON)
    task.cancel()
    await asyncio.wait({task})
    assert sorted(addresses.left) == ["a", "b"]


def test_the_head_start_is_longer_than_many_cells_wait_for_a_controller_that_lives() -> None:
    window = RedialWindow()
    assert window.head_start == 3.0
    window.heed(wire.ReportRequest(redial_window_ms=40_000))
    assert window.head_start == 83.0, "ten thousand at its door; no dial lasts so long"
