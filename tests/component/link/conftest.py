"""A controller's port, a cloud's metadata service and identity documents, and cells to dial: all real, on loopback."""

import asyncio
import contextlib
import datetime
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import join
from cellagent.boot.metadata_client import Metadata
from cellagent.link.home import stay
from cellwire.cell.v1 import cell_pb2 as wire
from controller.clouds.local.identity_documents import Document, Signer
from controller.clouds.local.metadata import InstanceMetadata
from controller.clouds.local.metadata_server import MetadataServers
from controller.clouds.userdata import UserData, render
from controller.link import port
from controller.link.join_checks import Admitted, CellPace, check, check_renewal, token_hash
from controller.link.port import ConnectionChange, Link, LinkSettings
from controller.model import instance as model
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from tests.component.link.small_agent import Small, small
from tests.support import rsa_keys


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """The bundle is given by a protocol of our own, and uvloop's transports are not asyncio's."""
    del config
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_agent_bundle.py" else {"asyncio": asyncio.new_event_loop}


class Fleet:
    """The cells that were launched, and the rule of admission."""

    def __init__(self) -> None:
        self.cells: dict[InstanceId, Cell] = {}
        self.addresses: set[str] = set()
        self.interval = 0.0
        self.redial_window = 0.0
        self.admitted = 0
        self.crowds = 0

    def launch(self, instance: str, token: str) -> None:
        self.cells[InstanceId(instance)] = Cell(
            name=CellName(f"c-{instance}"),
            state=CellState.BOOTING,
            demand=Demand(cpu_millis=1000, memory_mib=1024),
            instance=InstanceId(instance),
            join_token_hash=token_hash(token),
            moments={"launching": time.time()},
        )

    def put(self, instance: str, state: CellState) -> None:
        cell = self.cells[InstanceId(instance)]
        self.cells[InstanceId(instance)] = msgspec.structs.replace(cell, state=state)

    async def admit(self, token: str, key: str, identity: model.Identity) -> Admitted:
        cell = check(self.cells.get(identity.instance), token, key, identity, time.time())
        self.admitted += cell.state is not CellState.READY
        self.cells[identity.instance] = msgspec.structs.replace(cell, state=CellState.READY, joined_key=key)
        return Admitted(cell.name, wire.CellSettings(heartbeat_interval_ms=100, pod_address="10.5.0.9/32"))

    def familiar(self, address: str) -> bool:
        return address in self.addresses

    def crowded(self) -> None:
        self.crowds += 1

    def pace(self) -> CellPace:
        return CellPace(self.interval, self.redial_window)

    def renewable(self, cell: CellName, instance: InstanceId) -> None:
        check_renewal(self.cells.get(instance), cell, instance)


class Cloud:
    """Launches nothing: its instances are the tests themselves. Documents, signatures and metadata are real."""

    def __init__(self) -> None:
        self.signer = Signer(rsa_keys.key_of_this_process())
        self.servers = MetadataServers()

    async def metadata(self, instance: str, user_data: UserData, signer: Signer | None = None) -> int:
        """Port of the metadata service of a new instance."""
        document = msgspec.json.encode(
            Document(
                account_id="000000000000",
                architecture="x86_64",
                availability_zone="test-1a",
                image_id="ami-0",
                instance_id=instance,
                instance_type="t.small",
                pending_time=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                private_ip="10.5.0.8",
                region="test-1",
            )
        )
        tree = {
            "user-data": render(user_data),
            "dynamic/instance-identity/document": document.decode(),
            "dynamic/instance-identity/signature": (signer or self.signer).sign(document),
        }
        listening = socket.create_server(("127.0.0.1", 0))
        await self.servers.serve(InstanceId(instance), InstanceMetadata(tree, b"k" * 32), listening)
        return listening.getsockname()[1]


class Site:
    """One controller's port that can be closed and opened again at the same number, and its neighbours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet()
        self.cloud = Cloud()
        self.number = 0
        self.changes: list[ConnectionChange] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Link]:
        settings = LinkSettings(self.folder / "link", "127.0.0.1", self.number, ("127.0.0.1",))
        async with (
            port.running(settings, lambda: self.fleet, self.cloud.signer.verify) as link,
            asyncio.TaskGroup() as group,
        ):
            self.number = link.port
            listening = group.create_task(self._listen(link))
            try:
                yield link
            finally:
                listening.cancel()

    async def _listen(self, link: Link) -> None:
        async for change in link.changes():
            self.changes.append(change)

    async def boot(
        self, link: Link, instance: str, *, token: str = "t", known: bool = True
    ) -> tuple[CellIdentity, Metadata]:
        if known:
            self.fleet.launch(instance, "t")
        user_data = UserData(controllers=link.controllers, ca=link.authority.fingerprint, token=token)
        number = await self.cloud.metadata(instance, user_data)
        return CellIdentity(self.folder / instance), Metadata("127.0.0.1", number)

    @asynccontextmanager
    async def cell(self, link: Link, instance: str) -> AsyncGenerator[tuple[Small, Home]]:
        """A joined cell that stays at home for as long as the context."""
        identity, metadata = await self.boot(link, instance)
        home = await join(identity, metadata)
        async with at_home(identity, home) as agent:
            yield agent, home


@asynccontextmanager
async def at_home(identity: CellIdentity, home: Home) -> AsyncGenerator[Small]:
    """A cell that has joined, at home for as long as the context."""
    async with small(home.cell, {}) as agent:
        staying = asyncio.get_running_loop().create_task(
            stay(agent.server(), identity, home, lambda: None, agent.window)
        )
        try:
            yield agent
        finally:
            staying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await staying


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.cloud.servers.close_all()


async def until(condition: object, seconds: float = 20.0) -> None:
    """Wait until the callable says so."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
