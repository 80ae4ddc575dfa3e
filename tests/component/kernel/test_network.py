"""The pod's network for real: a world, a cell and pods out of network namespaces, and nothing left of them."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import msgspec
import pytest

from cellagent.kernel import namespaces
from cellagent.network import cni, links, ports
from cellagent.network.pod_network import NetworkMode, PodNetwork, attach, check, detach, lone_mode, retire
from cellagent.network.ports import PortMapping
from cellwire.faults import Fault
from hostkit import programs
from tests.support.netns import CELL, METADATA, WORLD, answering, ask, listing, make_cell, within

POD = "10.3.0.9"
METADATA6 = "fd00:ec2::254"


async def make_pod(folder: Path, name: str = "pod") -> Path:
    return (await namespaces.create(folder / name / "ns", ["net", "uts"]))["net"]


def clear(folder: Path) -> None:
    for one in folder.glob("*/ns"):
        namespaces.remove(one)


async def test_a_pod_in_a_cell_has_the_second_address_and_no_metadata(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    before = await listing(cell)
    network = PodNetwork(sandbox=secrets.token_hex(32), mode=NetworkMode.CELL, namespace=pod, address=f"{POD}/32")
    try:
        assert (await within(cell, lambda: attach(network))).addresses == (POD,)
        with answering(world, WORLD, 80), answering(world, METADATA, 80), answering(pod, POD, 8080):
            assert await ask(pod, WORLD, 80) == POD
            assert await ask(world, POD, 8080) == WORLD
            assert await ask(cell, POD, 8080) == links_gateway()
            assert await ask(cell, METADATA, 80) == CELL
            with pytest.raises(OSError, match=r"Permission denied|unreachable|No route"):
                await ask(pod, METADATA, 80)
        assert await namespaces.inside(pod, lambda: links.mtu("eth0")) == 1400
        await within(cell, lambda: check(network))
        await within(cell, lambda: detach(network))
        await within(cell, lambda: detach(network))
        with pytest.raises(Fault, match="cable"):
            await within(cell, lambda: check(network))
        assert await listing(cell) == before
    finally:
        clear(folder)


def links_gateway() -> str:
    return "169.254.1.1"


async def test_a_pod_that_makes_itself_a_way_over_ipv6_is_kept_from_metadata_there_too(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="six", mode=NetworkMode.CELL, namespace=pod, address=POD)

    async def lead_out() -> None:
        """As a pod with the right to change its network would, where the machine forwards IPv6."""
        name = links.cable(network.sandbox)
        await links.batch(["address add fd00:3::2/64 dev eth0 nodad", f"address add fd00:9::1/64 dev {name} nodad"])
        links.setting("net/ipv6/conf/all/forwarding", "1")
        await links.batch(["address add fd00:9::2/64 dev eth0 nodad", "route add default via fd00:9::1"], pod)
        await links.batch([f"route add {METADATA6} via fd00:3::1"])

    try:
        await within(
            world,
            lambda: links.batch(
                [
                    "address add fd00:3::1/64 dev eth0 nodad",
                    f"address add {METADATA6}/128 dev lo",
                    "link set lo up",
                    "route add fd00:9::/64 via fd00:3::2",
                ]
            ),
        )
        await within(cell, lambda: attach(network))
        await within(cell, lead_out)
        with answering(world, "fd00:3::1", 80), answering(world, METADATA6, 80):
            assert await ask(pod, "fd00:3::1", 80) == "fd00:9::2"
            assert await ask(cell, METADATA6, 80)
            with pytest.raises(OSError, match=r"Permission denied|unreachable|No route"):
                await ask(pod, METADATA6, 80)
        await within(cell, lambda: detach(network))
        assert not [line for line in await listing(cell) if "reject" in line]
    finally:
        clear(folder)


async def test_a_pod_that_may_see_metadata_does(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="allowed", mode=NetworkMode.CELL, namespace=pod, address=POD, metadata=True)
    try:
        await within(cell, lambda: attach(network))
        with answering(world, METADATA, 80):
            assert await ask(pod, METADATA, 80) == POD
    finally:
        clear(folder)


async def test_metadata_on_the_cell_itself_is_kept_from_the_pod(folder: Path) -> None:
    _, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="local", mode=NetworkMode.CELL, namespace=pod, address=POD)
    try:
        await within(cell, lambda: links.batch([f"address add {METADATA}/32 dev lo"]))
        await within(cell, lambda: attach(network))
        # Made anew over the same, as after a kill at the end.
        await namespaces.create(folder / "pod" / "ns", ["net"])
        await within(cell, lambda: attach(network))
        with answering(cell, METADATA, 80):
            assert await ask(cell, METADATA, 80) == METADATA
            with pytest.raises(OSError, match=r"Permission denied|unreachable|No route"):
                await ask(pod, METADATA, 80)
    finally:
        clear(folder)


async def test_an_address_that_the_cell_took_for_itself_goes_to_the_pod(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(sandbox="taken", mode=NetworkMode.CELL, namespace=pod, address=POD)
    try:
        await within(cell, lambda: links.batch([f"address add {POD}/24 dev eth0"]))
        await within(cell, lambda: attach(network))
        with answering(pod, POD, 80):
            assert await ask(world, POD, 80) == WORLD
    finally:
        clear(folder)


async def test_pods_on_a_bridge_meet_and_leave_by_the_machine(folder: Path) -> None:
    world, cell = await make_cell(folder)
    first, second = await make_pod(folder, "p1"), await make_pod(folder, "p2")
    before = await listing(cell)

    def network(name: str, namespace: Path, *mapped: PortMapping) -> PodNetwork:
        return PodNetwork(
            sandbox=name, mode=NetworkMode.BRIDGE, namespace=namespace, folder=folder / "state", bridge="chk3br",
            subnet="10.3.64.0/24", subnet6="fd03::/64", ports=mapped,
        )  # fmt: skip

    one = network("one", first, PortMapping(protocol="tcp", container=8080, host=18080))
    two = network("two", second)
    try:

        async def both() -> list[tuple[str, ...]]:
            async with asyncio.TaskGroup() as group:
                made = [group.create_task(attach(each)) for each in (one, two)]
            return [task.result().addresses for task in made]

        (own, own6), (other, _) = await within(cell, both)
        assert {own, other} == {"10.3.64.2", "10.3.64.3"}
        assert own6.startswith("fd03::")
        with answering(first, "0.0.0.0", 8080), answering(first, own6, 8081), answering(world, WORLD, 80):
            assert await ask(second, own, 8080) == other
            assert (await ask(second, own6, 8081)).startswith("fd03::")
            assert await ask(first, WORLD, 80) == CELL
            assert await ask(world, CELL, 18080) == WORLD
            # By the gateway, or the answer would not find its way back.
            assert await ask(second, CELL, 18080) == "10.3.64.1"
            assert await ask(first, CELL, 18080)
            assert await ask(cell, "127.0.0.1", 18080)
        await within(cell, lambda: detach(one))
        await within(cell, lambda: retire("chk3br", folder / "state"))  # not while it has a pod
        assert await within(cell, lambda: attach(network("one", first))) != own
        for each in (one, two, one):
            await within(cell, lambda each=each: detach(each))
            await within(cell, lambda: retire("chk3br", folder / "state"))
        assert await listing(cell) == before
        assert [path for path in (folder / "state" / "leases").iterdir() if path.name[0] != "."] == []
    finally:
        clear(folder)
        for path in sorted((folder / "state").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()


async def test_plugins_connect_a_pod_and_take_it_away(folder: Path) -> None:
    world, cell = await make_cell(folder)
    pod = await make_pod(folder)
    before = await listing(cell)
    settings = folder / "net.d"
    settings.mkdir()
    held = folder / "held"
    plugins = [
        {
            "type": "bridge", "bridge": "chk3cni", "isGateway": True, "ipMasq": True,
            "ipam": {"type": "host-local", "dataDir": str(held), "ranges": [[{"subnet": "10.3.80.0/24"}]],
                     "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]  # fmt: skip
    (settings / "10-test.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "chk3", "plugins": plugins}))
    where = cni.Plugins(configuration=settings)
    network = PodNetwork(
        sandbox="plugged", mode=lone_mode(where), namespace=pod, folder=folder / "state", plugins=where,
        ports=(PortMapping(protocol="tcp", container=8080, host=18081),), pod=("default", "web", "u-1"),
    )  # fmt: skip
    try:
        # Debian's port mapping plugin fails its own check for pods without IPv6: looked at without ports.
        plain = msgspec.structs.replace(network, ports=())
        await within(cell, lambda: attach(plain))
        await within(cell, lambda: check(plain))
        (address,) = (await within(cell, lambda: attach(network))).addresses
        assert address.startswith("10.3.80.")
        with answering(pod, "0.0.0.0", 8080), answering(world, WORLD, 80):
            assert await ask(pod, WORLD, 80) == CELL
            assert await ask(world, CELL, 18081) == WORLD
        await within(cell, lambda: detach(network))
        await within(cell, lambda: detach(network))
        held_now = [path.name for path in held.rglob("*") if path.name.startswith("10.")]
        assert held_now == []
        links_now = [line for line in await listing(cell) if "veth" in line]
        assert links_now == [line for line in before if "veth" in line]
        # Broken plugins say so in their own words, and what they began is taken away.
        (settings / "10-test.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "chk3", "plugins": [{"type": "no-such-plugin"}]})
        )
        with pytest.raises(Fault, match="no-such-plugin"):
            await within(cell, lambda: attach(network))
    finally:
        clear(folder)
        for top in (folder / "state", settings, held):
            for path in sorted(top.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()


async def test_a_host_port_that_cannot_be_had_names_itself(folder: Path) -> None:
    _, cell = await make_cell(folder)
    pod = await make_pod(folder)
    bad = PortMapping(protocol="nonsense", container=1, host=2)
    network = PodNetwork(sandbox="bad", mode=NetworkMode.CELL, namespace=pod, address=POD, ports=(bad,))
    try:
        with pytest.raises(Fault, match="host ports 2"):
            await within(cell, lambda: attach(network))
        good = msgspec.structs.replace(network, ports=(PortMapping(protocol="tcp", container=1, host=2),))
        await within(cell, lambda: attach(good))
        assert await within(cell, rules_of) != ""
        await within(cell, lambda: detach(good))
        assert await within(cell, rules_of) == ""
    finally:
        clear(folder)


@pytest.mark.parametrize("mode", [NetworkMode.CELL, NetworkMode.BRIDGE])
async def test_an_agent_that_ends_at_any_moment_leaves_nothing_that_detaching_does_not_take(
    folder: Path, mode: NetworkMode
) -> None:
    _, cell = await make_cell(folder)
    pod = await make_pod(folder)
    network = PodNetwork(
        sandbox="cut", mode=mode, namespace=pod, address=POD, folder=folder / "state", bridge="chk3cut",
        subnet="10.3.96.0/24", ports=(PortMapping(protocol="tcp", container=1, host=2),),
    )  # fmt: skip

    async def cut(after: float) -> None:
        try:
            async with asyncio.timeout(after):
                await attach(network)
        except TimeoutError:
            pass

    try:
        for step in range(12):
            await within(cell, lambda step=step: cut(0.004 + step * 0.006))
            await within(cell, lambda: detach(network))
            await within(cell, lambda: retire("chk3cut", folder / "state"))
            left = await listing(cell)
            assert not [line for line in left if "cut" in line or links.cable("cut") in line or POD in line]
    finally:
        clear(folder)
        for path in sorted((folder / "state").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()


async def rules_of() -> str:
    return (await programs.check(["nft", "list", "ruleset"])).decode()


def test_rules_can_be_read_by_nft_for_both_families() -> None:
    mapped = (
        PortMapping(protocol="udp", container=53, host=5353),
        PortMapping(protocol="tcp", container=1, host=2, host_ip="::1"),
    )
    text = ports.rules("t", "br", ("10.3.0.9", "fd03::9"), mapped)
    assert "meta nfproto ipv6 fib daddr type local udp dport 5353 dnat ip6 to [fd03::9]:53" in text
    assert "ip6 daddr ::1 tcp dport 2 dnat ip6 to [fd03::9]:1" in text


async def test_a_pod_on_the_machines_network_tells_a_cells_address_and_leaves_a_nodes_to_the_kubelet(
    folder: Path,
) -> None:
    alone = PodNetwork(sandbox="alone", mode=NetworkMode.HOST, namespace=folder / "none")
    in_a_cell = msgspec.structs.replace(alone, sandbox="cell", address=POD)

    assert (await attach(alone)).addresses == ()
    assert (await attach(in_a_cell)).addresses == await links.own_addresses()
