"""A cell's network as a real VPC has it: who else meddles with it, what leaves it, and who shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cellagent.kernel import namespaces
from cellagent.network import links, netlink_watch
from cellagent.network.pod_network import NetworkMode, PodNetwork, attach, detach, restore
from hostkit import programs
from tests.support.netns import CELL, METADATA, WORLD, answering, ask, listing, make_cell, within

POD = "10.3.0.9"
BEYOND = "203.0.113.7"
METADATA6 = "fd00:ec2::254"
REFUSED = r"Permission denied|unreachable|No route"
TAKEN = {
    "the route to the pod": ["ip", "route", "del", f"{POD}/32"],
    "the pod's gateway": ["ip", "address", "del", "169.254.1.1/32", "dev", "{cable}"],
    "the packet rules": ["nft", "flush", "ruleset"],
    "the rule of the local table": ["ip", "rule", "del", "pref", "0"],
    "the pod's address, which eth0 had": ["ip", "address", "add", f"{POD}/24", "dev", "eth0"],
}


async def make_pod(folder: Path) -> Path:
    return (await namespaces.create(folder / "pod" / "ns", ["net", "uts"]))["net"]


def clear(folder: Path) -> None:
    for one in folder.glob("*/ns"):
        namespaces.remove(one)


async def woken_by(work: Callable[[], Awaitable[object]]) -> None:
    """Return once the kernel has told of a loss that this work makes."""
    woken = asyncio.Event()
    with netlink_watch.losses(woken.set):
        await work()
        await woken.wait()


@pytest.mark.parametrize("thing", TAKEN)
async def test_what_somebody_takes_from_a_cells_network_is_seen_and_put_back(folder: Path, thing: str) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(
        sandbox="kept", mode=NetworkMode.CELL, namespace=pod, address=f"{POD}/32", vpc=("10.3.0.0/24",)
    )
    command = [word.format(cable=links.cable("kept")) for word in TAKEN[thing]]
    try:
        await within(cell, lambda: attach(network))
        before = await listing(cell)
        assert await within(cell, lambda: restore(network)) == ()

        await within(cell, lambda: woken_by(lambda: programs.check(command)))

        assert thing in await within(cell, lambda: restore(network))
        assert await listing(cell) == before
        with answering(pod, POD, 80), answering(world, METADATA, 80):
            assert await ask(world, POD, 80) == WORLD
            assert await ask(cell, METADATA, 80) == CELL
            with pytest.raises(OSError, match=REFUSED):
                await ask(pod, METADATA, 80)
    finally:
        clear(folder)


async def test_what_leaves_the_vpc_goes_by_the_cells_address_and_what_stays_by_the_pods(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="out", mode=NetworkMode.CELL, namespace=pod, address=POD, vpc=("10.3.0.0/24",))
    try:
        await within(world, lambda: links.batch([f"address add {BEYOND}/32 dev eth0"]))
        await within(cell, lambda: attach(network))
        with answering(world, WORLD, 80), answering(world, BEYOND, 80):
            assert await ask(pod, WORLD, 80) == POD
            assert await ask(pod, BEYOND, 80) == CELL
            assert await ask(cell, BEYOND, 80) == CELL
    finally:
        clear(folder)


@pytest.mark.parametrize("public", [True, False])
async def test_a_public_pod_gets_what_comes_to_the_cell_from_beyond_the_vpc(folder: Path, *, public: bool) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(
        sandbox="public", mode=NetworkMode.CELL, namespace=pod, address=POD, vpc=("10.3.0.0/24",), public=public
    )

    async def from_beyond() -> str:
        """As who comes through an internet gateway, which has put the cell's address in place of the public one."""
        said = await programs.check(["python3", "-c", _DIAL])
        return said.decode().strip()

    try:
        await within(world, lambda: links.batch([f"address add {BEYOND}/32 dev eth0"]))
        await within(cell, lambda: attach(network))
        with answering(pod, POD, 80), answering(cell, CELL, 81):
            assert await within(world, from_beyond) == (BEYOND if public else "refused")
            assert await ask(world, CELL, 81) == WORLD  # from within the VPC the cell itself answers
    finally:
        clear(folder)


_DIAL = f"""
import socket
try:
    print(socket.create_connection(({CELL!r}, 80), 3, ({BEYOND!r}, 0)).recv(99).decode())
except ConnectionRefusedError:
    print("refused")
"""


async def test_a_pod_that_shares_the_cells_network_is_kept_from_metadata_unless_it_may(folder: Path) -> None:
    world, cell = await make_cell(folder, six=True)
    pod = await make_pod(folder)
    before = await listing(cell)

    def network(*, metadata: bool) -> PodNetwork:
        return PodNetwork(sandbox="host", mode=NetworkMode.HOST, namespace=pod, address=POD, metadata=metadata)

    try:
        await within(world, lambda: links.batch([f"address add {METADATA6}/128 dev eth0 nodad"]))
        with answering(world, METADATA, 80), answering(world, METADATA6, 80), answering(world, WORLD, 80):
            await within(cell, lambda: attach(network(metadata=True)))
            assert await ask(cell, METADATA, 80) == CELL
            await within(cell, lambda: detach(network(metadata=True)))

            await within(cell, lambda: attach(network(metadata=False)))
            for address in (METADATA, METADATA6):
                with pytest.raises(OSError, match=REFUSED):
                    await ask(cell, address, 80)
            assert await ask(cell, WORLD, 80) == CELL

            await within(cell, lambda: programs.check(["nft", "flush", "ruleset"]))
            assert await within(cell, lambda: restore(network(metadata=False))) == ("the packet rules",)
            with pytest.raises(OSError, match=REFUSED):
                await ask(cell, METADATA, 80)
            await within(cell, lambda: detach(network(metadata=False)))
            assert await ask(cell, METADATA6, 80)
        assert await listing(cell) == before
    finally:
        clear(folder)


async def test_a_translated_connection_does_not_lead_round_the_block(folder: Path) -> None:
    _, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="round", mode=NetworkMode.CELL, namespace=pod, address=POD)
    trick = (
        "table ip trick { chain c { type nat hook prerouting priority -100; "
        f"ip daddr 10.96.0.1 dnat to {METADATA}\n }}\n }}"
    )
    try:
        await within(cell, lambda: links.batch([f"address add {METADATA}/32 dev lo", "link set lo up"]))
        await within(cell, lambda: attach(network))
        await within(cell, lambda: programs.check(["nft", "-f", "-"], stdin=trick.encode()))
        with answering(cell, METADATA, 80):
            with pytest.raises(OSError, match=REFUSED):
                await ask(pod, "10.96.0.1", 80)
    finally:
        clear(folder)
