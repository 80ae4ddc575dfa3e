"""Where the process that brings shared layers lets itself be led: as the controller's own questions, and no further.

All of it in a network namespace of its own, where every address that could be led to is there and is listened on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ThreadedResolver, web
from aiohttp.abc import ResolveResult

from cellagent.images import pull_process
from cellagent.images.messages import PullRequest, RegistrySettings
from cellagent.images.puller import this_platform
from cellagent.kernel import namespaces
from cellwire.faults import Fault
from cellwire.proxies import Proxies
from hostkit import programs
from tests.support.netns import within
from tests.support.oci import OCI_MANIFEST

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"), pytest.mark.timeout(120)]

REGISTRY = "10.3.0.1:5000"
# Of this namespace itself: a public address that it has is this machine all the same.
OWN = ["10.3.0.1/24", "10.9.0.1/24", "169.254.169.254/32", "100.100.0.1/32", "198.18.0.1/32", "9.9.9.9/32"]
OWN6 = ["fd00:3::1/64", "fd00:ec2::254/128", "fe80::5/64", "2606:4700::1/128"]
LED = [
    "127.0.0.1:9000", "127.7.7.7:9000", "0.0.0.0:9000", "[::1]:9000", "[::]:9000", "localhost:9000",
    "169.254.169.254:9000", "[fd00:ec2::254]:9000", "[fe80::5%25lo]:9000", "10.9.0.1:9000", "[fd00:3::1]:9000",
    "[::ffff:127.0.0.1]:9000", "[::ffff:169.254.169.254]:9000", "[::ffff:10.9.0.1]:9000", "[::127.0.0.1]:9000",
    "[2002:7f00:1::]:9000", "[64:ff9b::7f00:1]:9000", "2130706433:9000", "0x7f.1:9000", "017700000001:9000",
    "127.1:9000", "100.100.0.1:9000", "198.18.0.1:9000", "9.9.9.9:9000", "[2606:4700::1]:9000",
    "10.3.0.1:9000", "evil@127.0.0.1:9000",
]  # fmt: skip


class Evil:
    """A registry that leads elsewhere, in one of several ways, and what was reached where it led."""

    def __init__(self, way: str, onwards: str) -> None:
        self._way = way
        self._onwards = onwards
        self.asked: list[str] = []
        self.reached: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        away = web.Response(status=307, headers={"Location": f"http://{self._onwards}/latest/meta-data"})
        match self._way, request.path.split("/")[-2]:
            case "realm", _:
                told = f'Bearer realm="http://{self._onwards}/token",service="s"'
                return web.Response(status=401, headers={"WWW-Authenticate": told})
            case "hops", "manifests":
                return web.Response(status=302, headers={"Location": f"http://{REGISTRY}/v2/hop/on"})
            case "config", "manifests":
                config = {"digest": "sha256:" + "0" * 64, "size": 10, "mediaType": "application/json"}
                content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
                return web.json_response(content, content_type=OCI_MANIFEST)
            case _:
                return away

    async def canary(self, request: web.Request) -> web.Response:
        self.reached.append(request.path)
        return web.json_response({"token": "t"})


@asynccontextmanager
async def listening(evil: Evil) -> AsyncGenerator[None]:
    """The registry at its address, and canaries everywhere."""
    registry, canaries = web.Application(), web.Application()
    registry.router.add_route("*", "/{path:.*}", evil.answer)
    canaries.router.add_route("*", "/{path:.*}", evil.canary)
    host, _, port = REGISTRY.rpartition(":")
    runners = [web.AppRunner(each) for each in (registry, canaries)]
    try:
        for each in runners:
            await each.setup()
        await web.TCPSite(runners[0], host, int(port)).start()
        everywhere = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
        await web.SockSite(runners[1], everywhere).start()
        yield
    finally:
        for each in runners:
            await each.cleanup()


def request(
    image: str = f"{REGISTRY}/web:1", *, proxies: Proxies | None = None, mirrors: tuple[str, ...] = ()
) -> PullRequest:
    named = RegistrySettings(host=REGISTRY, plain_http=True, mirrors=mirrors)
    return PullRequest(
        reference=image,
        work="/nowhere",
        platform=this_platform(),
        registries=(named,),
        proxies=proxies or Proxies(),
        room=1 << 20,
    )


async def led(way: str, onwards: str, asked: PullRequest) -> tuple[Evil, str]:
    """What became of a pull, and why it failed."""
    evil = Evil(way, onwards)
    async with listening(evil):
        try:
            await pull_process.pull(asked)
        except Fault as fault:
            return evil, str(fault)
    raise AssertionError("the pull went well")


@pytest.fixture
async def netns(tmp_path: Path) -> AsyncGenerator[Path]:
    paths = await namespaces.create(tmp_path / "ns", ["net"])
    added = [f"addr add {each} dev lo" for each in OWN] + [f"addr add {each} dev lo nodad" for each in OWN6]
    enter = ["nsenter", f"--net={paths['net']}", "--"]
    for command in ["link set lo up", *added]:
        await programs.check([*enter, "ip", *command.split()])
    yield paths["net"]
    namespaces.remove(tmp_path / "ns")


@pytest.mark.parametrize("way", ["manifest", "hops", "config", "realm"])
async def test_a_registry_leads_to_nothing_that_is_this_machines_or_its_networks(netns: Path, way: str) -> None:
    for onwards in LED if way == "manifest" else LED[::6]:
        evil, cause = await within(netns, lambda onwards=onwards: led(way, onwards, request()))
        assert evil.asked, onwards
        assert not evil.reached, onwards
        assert cause, onwards


async def test_what_the_settings_name_may_be_led_to(netns: Path) -> None:
    evil, _ = await within(netns, lambda: led("manifest", "10.9.0.1:9000", request(mirrors=("http://10.9.0.1:9000",))))
    assert evil.reached


@pytest.mark.parametrize("image", [
    "localhost:9000/web:1", "127.0.0.1:9000/web:1", "169.254.169.254:9000/web:1", "[::1]:9000/web:1",
    "[fd00:ec2::254]:9000/web:1", "10.9.0.1:9000/web:1", "9.9.9.9:9000/web:1",
])  # fmt: skip
async def test_a_pod_names_nothing_on_this_machine_as_its_registry(netns: Path, image: str) -> None:
    evil, cause = await within(netns, lambda: led("manifest", "127.0.0.1:9000", request(image)))
    assert not evil.asked + evil.reached
    assert "no setting names it" in cause


async def test_a_name_that_changes_its_address_after_the_look_leads_nowhere(
    netns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = rebinding(monkeypatch, ["93.184.216.34", "127.0.0.1", "169.254.169.254"])
    evil, _ = await within(netns, lambda: led("manifest", "rebind.test:9000", request()))
    assert told()
    assert not evil.reached


async def test_of_a_names_addresses_only_those_are_tried_that_may_be_asked(
    netns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [["127.0.0.1", "93.184.216.34", "10.9.0.1"]]
    rebinding(monkeypatch, both)
    evil, cause = await within(netns, lambda: led("realm", "both.test:9000", request()))
    assert not evil.reached
    assert "both.test" in cause


async def test_a_proxy_is_asked_for_no_address_of_this_machine_or_its_network(netns: Path) -> None:
    proxies = Proxies(http="http://10.9.0.1:9000", exempt=(REGISTRY,))
    evil, cause = await within(netns, lambda: led("manifest", "169.254.169.254", request(proxies=proxies)))
    assert not evil.reached
    assert "no setting names it" in cause
    evil, _ = await within(netns, lambda: led("manifest", "mirror.test", request(proxies=proxies)))
    assert evil.reached  # a name is the proxy's own affair


def rebinding(monkeypatch: pytest.MonkeyPatch, answers: list[str] | list[list[str]]) -> Callable[[], int]:
    """Let a name have another address each time it is asked for; how often it was."""
    times = 0

    async def resolve(
        _: ThreadedResolver, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        nonlocal times
        del family
        told = answers[times % len(answers)]
        times += 1
        await asyncio.sleep(0)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in (told if isinstance(told, list) else [told])
        ]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    return lambda: times
