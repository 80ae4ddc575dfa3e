"""Who has no certificate, a certificate that is over, a registry of its own, or a pod on the host's network."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import renew
from cellwire.faults import Fault, Kind
from tests.support.controller import Controller
from tests.support.hostile import (
    beside_pods,
    cell_of,
    in_place_of_its_agent,
    peak,
    peak_begins,
)
from tests.support.manifests import pod
from tests.support.registry import serving
from tests.support.stranger import FLOODS, flood, silent

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

# docs/threat-model.md says so.
MOST_BYTES = 64 << 20
MOST_OF_SILENT = 96 << 20
ENDLESS = 256 << 20
ROUTES = ("elsewhere", "endless", "deep")
AT_ONCE = 5


def link_of(controller: Controller) -> tuple[str, int]:
    """Where cells dial."""
    lines = (controller.folder / "controller.toml").read_text().splitlines()
    begin = lines.index("[link]")
    host, port = (next(line for line in lines[begin:] if line.startswith(key)) for key in ("host", "port"))
    return host.split('"')[1], int(port.split("=")[1])


async def test_floods_of_strangers_take_little_memory_and_nothing_of_an_honest_pod(tmp_path: Path) -> None:
    async with beside_pods(tmp_path) as (controller, honest):
        host, port = link_of(controller)
        for first in range(0, len(FLOODS), AT_ONCE):
            these = FLOODS[first : first + AT_ONCE]
            before = peak_begins(controller)
            async with asyncio.TaskGroup() as tasks:
                floods = [tasks.create_task(flood(host, port, what, ENDLESS, 20)) for what in these]
                await honest.holds()
            names = [what.__name__ for what in these]
            print(f"{names}: {(peak(controller) - before) >> 10} KiB more")
            assert max(each.result() for each in floods) < ENDLESS
            assert peak(controller) - before < MOST_BYTES


async def test_silent_connections_keep_no_cell_and_no_user_out(tmp_path: Path) -> None:
    few = ("prlimit", "--nofile=1024:1024", "--")
    async with beside_pods(tmp_path, prefix=few) as (controller, honest):
        host, port = link_of(controller)
        before = peak_begins(controller)
        async with silent(host, port, 1100, tls=False), silent(host, port, 1024, tls=True):
            await controller.kubectl("apply", "-f", "-", stdin=pod("another"))
            await controller.kubectl("wait", "--for=condition=Ready", "pod/another", "--timeout=90s", seconds=100)
            await honest.holds()
            print(f"{(peak(controller) - before) >> 10} KiB more")
            assert peak(controller) - before < MOST_OF_SILENT


async def test_a_cell_that_is_over_has_no_further_certificate_and_no_connection(tmp_path: Path) -> None:
    async with beside_pods(tmp_path, "evil") as (controller, honest):
        cell = await cell_of(controller, "evil")
        async with in_place_of_its_agent(controller, cell) as (identity, home):
            stolen = CellIdentity(tmp_path / "stolen")
            stolen.folder.mkdir(exist_ok=True)
            for name in ("key", "certificate", "authority"):
                getattr(stolen, name).write_bytes(getattr(identity, name).read_bytes())
        await controller.kubectl("delete", "pod", "evil")
        await controller.until(lambda cells: all(one["name"] != cell["name"] for one in cells))
        await _denied(stolen, home)
        await honest.holds()


async def _denied(identity: CellIdentity, home: Home) -> None:
    with pytest.raises(Fault) as raised:
        await renew(identity, home)
    assert raised.value.kind is Kind.DENIED


async def test_a_registry_leads_the_controller_nowhere_and_fills_it_with_nothing(tmp_path: Path) -> None:
    led: list[str] = []

    async def canary(request: web.Request) -> web.Response:
        led.append(request.path)
        return web.Response()

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://{away}/latest/meta-data"})

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" " * (1 << 20))

    async def deep(_: web.Request) -> web.Response:
        return web.Response(body=b"[" * (3 << 20))

    evil, victim = web.Application(), web.Application()
    victim.router.add_get("/{path:.*}", canary)
    for name, handler in zip(ROUTES, (elsewhere, endless, deep), strict=True):
        evil.router.add_get(f"/v2/{name}/manifests/1", handler)
    async with serving(victim) as away, serving(evil) as address:
        named = f'[[registries]]\nhost = "evil.demo"\nmirrors = ["http://{address}"]\n'
        async with beside_pods(tmp_path, more=named) as (controller, honest):
            before = peak_begins(controller)
            pods = [pod(name).replace("registry.demo/web:1", f"evil.demo/{name}:1") for name in ROUTES]
            await controller.kubectl("apply", "-f", "-", stdin="".join(pods))
            await controller.until(lambda cells: len({cell["pod"] for cell in cells if cell["pod"]}) == 1 + len(ROUTES))
            await honest.holds()
            print(f"{(peak(controller) - before) >> 10} KiB more")
            assert peak(controller) - before < MOST_BYTES
            log = controller.folder / "controller.log"
            # Who brings shared layers was led there, too, and did not go.
            while not any("not shared" in line and away in line for line in log.read_text().splitlines()):
                await asyncio.sleep(0.1)
            controller.without_traceback()
    assert not led


async def test_a_pod_on_its_cells_network_reaches_no_metadata(tmp_path: Path) -> None:
    on_host = pod("nosy").replace("  restartPolicy", "  hostNetwork: true\n  restartPolicy")
    async with beside_pods(tmp_path) as (controller, honest):
        await controller.kubectl("apply", "-f", "-", stdin=on_host)
        await controller.kubectl("wait", "--for=condition=Ready", "pod/nosy", "--timeout=90s", seconds=100)
        for place in ("latest/meta-data/", "latest/user-data", "latest/dynamic/instance-identity/document"):
            status, output, _ = await controller.kubectl_raw(
                "exec", "nosy", "--", "wget", "-q", "-T", "3", "-O", "-", f"http://169.254.169.254/{place}"
            )
            assert status != 0
            assert not output
        await honest.holds()
