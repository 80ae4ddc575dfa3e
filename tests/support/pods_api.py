"""The pods API on this machine, with cells that are doubles, and plain kubectl to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from controller.api import audit, server
from controller.api.all_kinds import WORKLOADS
from controller.api.authorization import Gate
from controller.api.grants import Grants
from controller.api.settings import ApiSettings
from controller.api.token_routes import Desk
from controller.fleet import cost_ledger
from controller.link.authority import Authority
from controller.objects import library, quotas
from controller.objects.kinds import STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.tokens import Tokens
from controller.pods import engine
from controller.pods.delivery import ClusterIdentity
from controller.pods.prices import Prices
from controller.sandboxes.carried import Carrier
from controller.sandboxes.ways import Ways
from controller.store import sqlite
from controller.store.record_store import Store
from controller.workloads import room as workloads
from tests.support.cells_double import CellsDouble, cells, demand_of
from tests.support.fake_cloud import FakeCloud


@asynccontextmanager
async def objects(store: Store) -> AsyncGenerator[Library]:
    """All objects of this store, sealed with a key that is no secret."""
    async with library.running(store, Sealing(bytes(32)), (*STORED, *WORKLOADS), time.time) as found:
        yield found


def identity() -> ClusterIdentity:
    """Tokens by a key that is no secret; the API itself is out of the pods' reach."""
    return ClusterIdentity(Tokens(bytes(32), time.time), "the authority")


@dataclass
class Clock:
    """The time by which tokens of grants are over, which a test may put forward."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


@dataclass
class Ran:
    code: int
    out: str
    err: str


@dataclass
class PodsApiWorld:
    fleet: CellsDouble
    kubeconfig: str
    folder: Path
    desk: Desk
    books: cost_ledger.Ledger
    authority: str
    """That of its certificate, as PEM."""
    clock: Clock = field(default_factory=Clock)

    def command(self, *args: str) -> list[str]:
        cache = str(self.folder / "cache")
        return ["kubectl", "--kubeconfig", self.kubeconfig, "--cache-dir", cache, *args]

    async def kubectl(self, *args: str, stdin: str | bytes | None = None, deadline: float = 20) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *self.command(*args),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(deadline):
                given = stdin.encode() if isinstance(stdin, str) else stdin
                out, err = await process.communicate(given)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(f"kubectl {args} took too long: {out!r} {err!r}") from None
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def ok(self, *args: str, stdin: str | bytes | None = None, deadline: float = 20) -> str:
        ran = await self.kubectl(*args, stdin=stdin, deadline=deadline)
        assert ran.code == 0, ran.err + ran.out
        return ran.out

    async def until(self, wanted: str, *args: str, deadline: float = 15) -> str:
        ends = time.monotonic() + deadline
        while True:
            ran = await self.kubectl(*args)
            if wanted in ran.out:
                return ran.out
            assert time.monotonic() < ends, f"{wanted!r} was not seen in {ran.out} {ran.err}"
            await asyncio.sleep(0.2)


@asynccontextmanager
async def world(
    folder: Path, fleet: CellsDouble | None = None, allowed: dict[str, tuple[str, ...]] | None = None, **own: Any
) -> AsyncGenerator[PodsApiWorld]:
    """`own` are settings of the API beyond the usual ones, `allowed` the values of restricted annotations."""
    authority = Authority(folder / "link", ["127.0.0.1"])
    settings = ApiSettings(folder=folder, certify=partial(authority.certify, "api"), authority=authority.pem, **own)
    async with contextlib.AsyncExitStack() as rooms:
        fleet = fleet or await rooms.enter_async_context(cells())
        store = await rooms.enter_async_context(sqlite.running(folder / "records.sqlite"))
        shelves = await rooms.enter_async_context(objects(store))
        room = engine.running(
            fleet, shelves, identity(), Ways(Carrier(b"key")), folder=folder / "pods", demand_of=demand_of
        )
        pods = await rooms.enter_async_context(room)
        await rooms.enter_async_context(quotas.running(shelves, Prices(fleet, demand_of).now))
        await rooms.enter_async_context(workloads.running(shelves, pods.teller))
        clock = Clock()
        grants = Grants(store, clock.now)
        await grants.load()
        notes = await rooms.enter_async_context(audit.running(folder / "audit.log", time.time))
        books = await rooms.enter_async_context(cost_ledger.running(store, fleet, FakeCloud()))
        gate = Gate(grants, notes, allowed or {}, books.spent)
        api = await rooms.enter_async_context(server.running(shelves, pods, fleet, settings, gate))
        yield PodsApiWorld(
            fleet,
            api.kubeconfig,
            folder,
            Desk(grants, shelves, notes, api.cluster),
            books,
            authority.pem.decode(),
            clock,
        )


def manifest(script: str = "echo hello; sleep 1000", **spec: Any) -> str:
    container = {"name": "web", "image": "busybox:1", "command": ["sh", "-c", script]}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"containers": [container | spec.pop("container", {})], **spec},
        }
    )
