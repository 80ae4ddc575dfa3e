"""Services in the kernel of a cell, for real: a world of two who answer, a cell, and a pod that dials."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from cellagent.kernel import namespaces
from cellagent.network import bridge, dns_messages, forwarder, links, service_rules
from cellagent.network.holding import Holding
from cellagent.network.pod_network import NetworkMode, PodNetwork, attach, detach
from cellagent.network.service_rules import Around, Names
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault
from hostkit import programs
from tests.support.netns import WORLD, WORLD6, answering, ask, listing, make_cell, within

POD, OTHER, THIRD = "10.3.0.9", "10.3.0.101", "10.3.0.102"
VIP, VIP6, OUTSIDE = "10.96.0.7", "fd00:96::7", "192.0.2.50"
REFUSED = r"refused|unreachable"


def held(name: str, port: wire.ServicePort) -> dict[str, wire.HeldService]:
    return {name: service_rules.checked(wire.HeldService(name=name, ports=[port]))}


def port(
    *backends: str, protocol: str = "tcp", addresses: Sequence[str] = (VIP,), affinity: int = 0, node: int = 0
) -> wire.ServicePort:
    there = [wire.ServiceBackend(address=address, port=8080) for address in backends]
    return wire.ServicePort(
        protocol=protocol, addresses=addresses, port=80, node_port=node, backends=there, affinity_seconds=affinity
    )


async def hold(cell: Path, wanted: dict[str, wire.HeldService], names: Names | None = None) -> Names:
    text, now = service_rules.transaction(wanted, names, Around(pods=(POD,)))
    await within(cell, lambda: bridge.filters(text, needed="Services"))
    return now


@contextlib.asynccontextmanager
async def a_pod(folder: Path, *, six: bool = False) -> AsyncGenerator[tuple[Path, Path, Path]]:
    """A world that has all addresses of who answers, a cell and its pod."""
    world, cell = await make_cell(folder, six=six)
    pod = (await namespaces.create(folder / "pod" / "ns", ["net", "uts"]))["net"]
    network = PodNetwork(sandbox="dials", mode=NetworkMode.CELL, namespace=pod, address=POD)
    try:
        more = [f"address add {address}/32 dev eth0" for address in (OTHER, THIRD)]
        await within(world, lambda: links.batch(more))
        await within(cell, lambda: attach(network))
        yield world, cell, pod
        await within(cell, lambda: detach(network))
    finally:
        for one in folder.glob("*/ns"):
            namespaces.remove(one)


async def test_a_service_is_reached_at_each_of_its_addresses_from_the_pod_and_from_the_cell(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        await hold(cell, held("default/web", port(WORLD, addresses=(VIP, OUTSIDE))))
        with answering(world, WORLD, 8080):
            assert await ask(pod, VIP, 80) == POD
            assert await ask(pod, OUTSIDE, 80) == POD
            assert await ask(cell, VIP, 80)


async def test_udp_is_led_as_tcp_is_and_a_port_of_another_protocol_is_refused(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        await hold(cell, held("default/names", port(WORLD, protocol="udp")))
        with answering(world, WORLD, 8080, udp=True), answering(world, OTHER, 8080):
            assert await ask(pod, VIP, 80, udp=True) == POD
            with pytest.raises(OSError, match=REFUSED):
                await ask(pod, VIP, 80)


async def test_ipv6_addresses_are_led_to_who_answers_over_ipv6(folder: Path) -> None:
    async with a_pod(folder, six=True) as (world, cell, _):
        await hold(cell, held("default/web", port(WORLD, WORLD6, addresses=(VIP, VIP6))))
        with answering(world, WORLD6, 8080), answering(world, WORLD, 8080):
            assert ":" in await ask(cell, VIP6, 80)
            assert ":" not in await ask(cell, VIP, 80)


async def test_connections_go_to_all_who_answer_and_to_nobody_who_has_left(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        names = await hold(cell, held("default/web", port(WORLD, OTHER, THIRD)))
        with answering(world, WORLD, 8080):
            with answering(world, OTHER, 8080), answering(world, THIRD, 8080):
                for _ in range(12):
                    assert await ask(pod, VIP, 80) == POD
            names = await hold(cell, held("default/web", port(WORLD)), names)
            for _ in range(12):
                assert await ask(pod, VIP, 80) == POD
        assert await hold(cell, held("default/web", port()), names) == Names()
        with pytest.raises(OSError, match=REFUSED):
            await ask(pod, VIP, 80)


async def who(pod: Path) -> str:
    """Which of the servers answers."""
    return await ask(pod, VIP, 80)


async def test_a_caller_stays_with_who_answered_also_when_others_come(folder: Path) -> None:
    async with a_pod(folder) as (_, cell, pod):
        world = folder / "world" / "ns" / "net"
        names = await hold(cell, held("default/web", port(WORLD, OTHER, affinity=600)))
        with answering(world, WORLD, 8080), answering(world, OTHER, 8080), answering(world, THIRD, 8080):
            first = await chosen(cell, pod)
            assert {await chosen(cell, pod) for _ in range(5)} == {first}
            names = await hold(cell, held("default/web", port(WORLD, OTHER, THIRD, affinity=600)), names)
            assert {await chosen(cell, pod) for _ in range(5)} == {first}
            left = {WORLD, OTHER, THIRD} - {first}
            await hold(cell, held("default/web", port(*left, affinity=600)), names)
            assert await chosen(cell, pod) != first


async def chosen(cell: Path, pod: Path) -> str:
    """To whom the kernel leads a connection: asked of the kernel, since the servers tell the caller's address."""
    await ask(pod, VIP, 80)
    told = (await within(cell, lambda: programs.check(["nft", "list", "table", "inet", service_rules.TABLE]))).decode()
    sets = {line.split()[1]: "" for line in told.splitlines() if line.strip().startswith("set a")}
    for name in sets:
        said = await within(
            cell, lambda name=name: programs.check(["nft", "list", "set", "inet", service_rules.TABLE, name])
        )
        if POD in said.decode():
            chain = "b" + name[1:]
            return told.split(f"chain {chain} {{")[1].split(" to ")[1].split(":")[0]
    raise AssertionError(told)


async def test_a_pod_that_is_led_to_itself_hears_the_answer(folder: Path) -> None:
    async with a_pod(folder) as (_, cell, pod):
        await hold(cell, held("default/web", port(POD)))
        with answering(pod, POD, 8080):
            assert await ask(pod, VIP, 80)


async def test_a_node_port_answers_at_the_cells_own_address(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        await hold(cell, held("default/web", port(WORLD, node=30080)))
        with answering(world, WORLD, 8080):
            assert await ask(pod, "10.3.0.2", 30080) == POD


async def test_a_node_port_answers_at_the_nodes_address_whose_other_ports_are_the_nodes_own(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        wanted = port(WORLD, node=30080)
        wanted.node_addresses.append(OTHER)
        names = await hold(cell, held("default/web", wanted))
        with answering(world, WORLD, 8080), answering(world, OTHER, 10250):
            assert await ask(pod, OTHER, 30080) == POD
            assert await ask(pod, OTHER, 10250) == POD
        # Where nobody answers, the node itself is asked.
        await hold(cell, held("default/web", wire.ServicePort(protocol="tcp", port=80, node_port=30080)), names)
        with answering(world, OTHER, 30080):
            assert await ask(pod, OTHER, 30080) == POD


async def test_what_is_taken_from_the_kernel_is_put_back_and_the_end_leaves_nothing(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        before = await listing(cell)
        inputs: asyncio.Queue[wire.ServicesInput | None] = asyncio.Queue()
        outputs: asyncio.Queue[wire.ServicesOutput] = asyncio.Queue()
        holding = Holding(POD)
        whole = wire.ServiceChanges(sequence=1, whole=True, services=held("default/web", port(WORLD)).values())
        with answering(world, WORLD, 8080):

            async def told() -> None:
                async with asyncio.TaskGroup() as tasks:
                    serving = tasks.create_task(
                        holding.serve(wire.ServicesStart(domain="cluster.local"), _all(inputs), outputs.put)
                    )
                    await inputs.put(wire.ServicesInput(changes=whole))
                    assert (await outputs.get()).applied == 1
                    await programs.check(["nft", "delete", "table", "inet", service_rules.TABLE])
                    await holding.restore()
                    serving.cancel()

            await within(cell, told)
            assert await ask(pod, VIP, 80) == POD
        await within(cell, lambda: bridge.filters(service_rules.removal()))
        assert await listing(cell) == before


async def test_a_service_that_is_dialled_without_its_name_is_asked_for_and_then_answers(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):
        inputs: asyncio.Queue[wire.ServicesInput | None] = asyncio.Queue()
        outputs: asyncio.Queue[wire.ServicesOutput] = asyncio.Queue()
        holding = Holding(POD)
        start = wire.ServicesStart(domain="cluster.local", networks=["10.96.0.0/16"])
        nothing = wire.ServiceChanges(sequence=1, whole=True)
        wanted = wire.ServiceChanges(sequence=2, services=held("other/web", port(WORLD)).values())

        async def told() -> None:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(holding.watch())
                serving = tasks.create_task(holding.serve(start, _all(inputs), outputs.put))
                await inputs.put(wire.ServicesInput(changes=nothing))
                assert (await outputs.get()).applied == 1
                dialling = tasks.create_task(ask(pod, VIP, 80))
                assert (await outputs.get()).dialled == VIP
                await inputs.put(wire.ServicesInput(changes=wanted))
                assert (await outputs.get()).applied == 2
                assert await dialling == POD
                serving.cancel()
                watching.cancel()

        with answering(world, WORLD, 8080):
            await within(cell, told)


async def _all(queue: asyncio.Queue[wire.ServicesInput | None]) -> AsyncGenerator[wire.ServicesInput]:
    while (one := await queue.get()) is not None:
        yield one


async def test_names_of_services_are_answered_by_the_controller_and_others_by_the_cells_servers(folder: Path) -> None:
    async with a_pod(folder) as (world, cell, pod):

        async def controller(name: str, type_: int) -> wire.NameAnswer | None:
            if not name.endswith("cluster.local"):
                return None
            record = wire.NameRecord(name=name, type=type_, ttl=5, text=VIP)
            return wire.NameAnswer(known=True, records=[record])

        async def serve(stop: asyncio.Event, up: asyncio.Event) -> None:
            async with forwarder.answering("169.254.1.1", POD, controller, lambda: (WORLD,)):
                up.set()
                while not stop.is_set():
                    await asyncio.sleep(0.02)

        stop, up = asyncio.Event(), asyncio.Event()
        async with name_server(world), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(within(cell, lambda: serve(stop, up)))
            while not up.is_set():
                await asyncio.sleep(0.02)
            try:
                assert await resolve(pod, "web.default.svc.cluster.local") == VIP
                assert await resolve(pod, "example.com") == "9.9.9.9"
            finally:
                stop.set()
            await serving


async def test_of_a_pods_silent_connections_for_names_a_bounded_number_is_held() -> None:
    async def ask(name: str, type_: int) -> wire.NameAnswer | None:
        return wire.NameAnswer(known=True, code=3)

    query = dns_messages.query(7, "a.cluster.local", dns_messages.A)
    async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as held:
        one = forwarder.Forwarder(tasks, "127.0.0.1", ask, lambda: ())
        server = await asyncio.start_server(one.stream, "127.0.0.1", 0)
        held.callback(server.close)
        address = server.sockets[0].getsockname()
        silent: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(forwarder.MOST_AT_ONCE):
            reader, writer = await asyncio.open_connection(*address)
            held.callback(writer.close)
            # Taken up once it is answered.
            writer.write(len(query).to_bytes(2, "big") + query)
            await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            silent.append((reader, writer))
        reader, writer = await asyncio.open_connection(*address)
        held.callback(writer.close)
        assert await reader.read() == b""
        assert not silent[-1][0].at_eof()


def test_datagrams_without_end_are_taken_in_turns() -> None:
    class Endless(socket.socket):
        def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, tuple[str, int]]:
            self.taken = getattr(self, "taken", 0) + 1
            assert self.taken <= 100_000, "nobody else has a turn"
            return b"x", ("10.9.9.9", 1)

    async def ask(name: str, type_: int) -> wire.NameAnswer | None:
        return None

    with Endless(socket.AF_INET, socket.SOCK_DGRAM) as door:
        forwarder.Forwarder(asyncio.TaskGroup(), POD, ask, lambda: ()).datagram(door)


@contextlib.asynccontextmanager
async def name_server(world: Path) -> AsyncGenerator[None]:
    """One that answers every question with 9.9.9.9, if only those who look at the last four bytes ask."""
    server = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={world}", "python3", "-c", _SERVER, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        await server.stdout.readline()
        yield
    finally:
        server.kill()
        await server.wait()


async def resolve(pod: Path, name: str) -> str:
    """The last four bytes of the answer as an address."""
    query = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0" + dns_messages.written(name) + b"\0\x01\0\x01"
    code = _QUERY.format(query=query)
    return (await programs.check(["nsenter", f"--net={pod}", "python3", "-c", code])).decode().strip()


_QUERY = """
import socket
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.settimeout(5)
door.sendto({query!r}, ("169.254.1.1", 53))
said = door.recv(999)
assert said[:2] == bytes([0x12, 0x34]) and said[2] & 0x80 and not said[3] & 15, said
print(socket.inet_ntoa(said[-4:]))
"""
_SERVER = f"""
import socket
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(({WORLD!r}, 53))
print("up", flush=True)
while True:
    asked, who = door.recvfrom(999)
    door.sendto(asked[:2] + bytes([0x81, 0x80]) + asked[4:] + bytes([9, 9, 9, 9]), who)
"""


@pytest.mark.parametrize(
    "bad",
    [
        wire.ServicePort(protocol="icmp", addresses=[VIP], port=80),
        wire.ServicePort(protocol="tcp", addresses=["x; flush ruleset"], port=80),
        wire.ServicePort(protocol="tcp", addresses=[VIP], port=0),
    ],
)
async def test_what_makes_no_rule_is_refused_by_name(bad: wire.ServicePort) -> None:
    with pytest.raises(Fault, match="default/web"):
        service_rules.checked(wire.HeldService(name="default/web", ports=[bad]))
