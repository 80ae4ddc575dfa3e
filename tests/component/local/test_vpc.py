"""The local cloud's network is a VPC: what it lets through, translates and drops, as EC2's does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from cellwire.faults import Fault
from controller.clouds.local import addresses, router
from controller.clouds.local.cloud import running
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.protocol import Cloud, LaunchRequest
from controller.model.instance import Instance
from hostkit import programs
from tests.component.local.conftest import Playground

SLEEP = "#!/bin/sh\nexec sleep 600\n"
SERVICE = "10.96.0.1"
DIAL = "import socket; print(socket.create_connection(({there!r},7),{seconds},({source!r},0)).recv(99).decode())"
LISTEN = (
    "import socket; s=socket.create_server(({here!r},7)); print('up',flush=True)\n"
    "while True:\n c,who=s.accept(); c.sendall(who[0].encode()); c.close()"
)


async def launch(cloud: Cloud, token: str, annotations: dict[str, str] | None = None) -> Instance:
    offers = (await cloud.offers())[:1]
    request = LaunchRequest(client_token=token, offers=offers, user_data=SLEEP, annotations=annotations or {})
    outcome = await cloud.launch(request)
    assert outcome.instance is not None, outcome.fault
    return outcome.instance


def record(settings: LocalSettings, instance: Instance) -> Record:
    return msgspec.json.decode((settings.root / "records" / f"{instance.id}.json").read_bytes(), type=Record)


def inside(settings: LocalSettings, instance: Instance) -> list[str]:
    return ["nsenter", f"--net=/proc/{record(settings, instance).pid}/ns/net"]


@asynccontextmanager
async def listening(before: list[str], here: str) -> AsyncGenerator[None]:
    """A server that tells who calls."""
    argv = [*before, sys.executable, "-c", LISTEN.format(here=here)]
    server = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        await server.stdout.readline()
        yield
    finally:
        server.kill()
        await server.wait()


async def dial(before: list[str], there: str, source: str = "", seconds: float = 5) -> str:
    code = DIAL.format(there=there, source=source, seconds=seconds)
    return (await programs.check([*before, sys.executable, "-c", code])).decode().strip()


async def test_no_packet_of_an_instance_is_served_by_this_machines_rules(playground: Playground) -> None:
    async with playground(masquerade=True) as settings, running(settings) as cloud:
        one, other = await launch(cloud, "a"), await launch(cloud, "b")
        table = f"proxy{settings.bridge}"
        accident = (
            f"table ip {table} {{\n counter seen {{}}\n chain c {{ type nat hook prerouting priority -100;\n"
            f"  ip daddr {{ {SERVICE}, {other.address} }} counter name seen dnat to {other.address}\n }}\n}}\n"
        )
        await programs.check(["nft", "-f", "-"], stdin=accident.encode())
        try:
            async with listening(inside(settings, other), other.address):
                assert await dial(inside(settings, one), other.address) == one.address
                with pytest.raises(Fault, match=r"timed out|unreachable"):
                    await dial(inside(settings, one), SERVICE, seconds=1)
            assert b"packets 0" in await programs.check(["nft", "list", "counter", "ip", table, "seen"])
        finally:
            await programs.check(["nft", "delete", "table", "ip", table])


async def test_an_instance_may_send_from_its_own_addresses_only(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        one, other, third = await launch(cloud, "a"), await launch(cloud, "b"), await launch(cloud, "c")
        here = inside(settings, one)
        async with listening(inside(settings, other), other.address):
            for address in (one.pod_address, third.address):
                await programs.check([*here, "ip", "address", "add", f"{address}/32", "dev", "lo"])
            assert await dial(here, other.address, one.pod_address) == one.pod_address
            with pytest.raises(Fault, match="timed out"):
                await dial(here, other.address, third.address, seconds=1)


async def test_a_public_address_leads_to_its_instance_and_others_cannot_leave(playground: Playground) -> None:
    outside = "198.51.100.0/28"
    async with playground(public_subnet=outside) as settings, running(settings) as cloud:
        public = await launch(cloud, "a", {"chinampa.dev/public-address": "true"})
        private = await launch(cloud, "b")
        known = record(settings, public).public_address
        beyond = "203.0.113.9"
        await programs.check(["ip", "address", "replace", f"{beyond}/32", "dev", "lo"])
        # Reached by the way out, which an internet gateway is; not as an address of this machine, which is in the VPC.
        async with listening(inside(settings, public), public.address), listening([], beyond):
            assert known == addresses.free_public(outside, ())
            assert await dial([], known) == addresses.gateway(outside)
            assert await dial(inside(settings, public), beyond) == known
            assert await dial(inside(settings, private), known) == private.address
            with pytest.raises(Fault, match="timed out"):
                await dial(inside(settings, private), beyond, seconds=1)
            second = public.pod_address
            await programs.check([*inside(settings, public), "ip", "address", "add", f"{second}/32", "dev", "lo"])
            with pytest.raises(Fault, match="timed out"):
                await dial(inside(settings, public), beyond, second, seconds=1)


async def test_this_machines_own_addresses_and_the_networks_it_leads_to_are_reached(playground: Playground) -> None:
    own, pods = "10.123.45.6", "10.124.0.9"
    await programs.check(["ip", "address", "add", f"{own}/32", "dev", "lo"])
    async with playground(routes=("10.124.0.0/24",)) as settings, running(settings) as cloud:
        instance = await launch(cloud, "a")
        await programs.check(["ip", "address", "add", f"{pods}/32", "dev", "lo"])
        for address in (own, pods):
            async with listening([], address):
                assert await dial(inside(settings, instance), address) == instance.address
    for address in (own, pods):
        await programs.check(["ip", "address", "del", f"{address}/32", "dev", "lo"])


async def test_instances_keep_their_network_when_the_router_was_lost(playground: Playground) -> None:
    """It is pinned in a mount namespace, which a service manager may take away with the controller."""
    async with playground() as settings:
        async with running(settings) as cloud:
            instance = await launch(cloud, "a")
        await router.remove(settings)
        async with running(settings) as cloud, listening(inside(settings, instance), instance.address):
            assert await dial([], instance.address) == addresses.gateway(settings.subnet)


async def test_nothing_of_the_router_outlives_a_closed_cloud(playground: Playground) -> None:
    async with playground() as settings:
        async with running(settings) as cloud:
            await cloud.terminate([(await launch(cloud, "a")).id])
            assert router.pinned(settings)
        assert not router.pinned(settings)
        assert str(settings.root) not in Path("/proc/self/mountinfo").read_text()
