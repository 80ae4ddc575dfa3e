"""Pulls from a registry of the cloud's own are logged in with the controller's credentials, whoever asks for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Login, LoginOf
from controller.fleet.cells import Cells
from controller.model.names import PodUid
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes import room
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.pulling import RegistryAccess, pull
from controller.sandboxes.ways import Ways
from controller.shim.images import Images
from controller.shim.patience import PullBackoff
from controller.shim.stock import Stock
from tests.support.cells_double import CellsDouble, cells, demand_of
from tests.support.memory_store import MemoryStore

OWN, OTHER = "registry.cloud/app:1", "registry.other/app:1"


async def login(image: str) -> Login | None:
    return Login(username="cloud", password="secret") if image == OWN else None


async def denied(image: str) -> Login | None:
    raise Fault(Kind.DENIED, f"login for {image}", "the role may not")


async def test_without_accounts_of_its_own_a_pod_is_logged_in_to_the_clouds_registries_only() -> None:
    async with cells() as fleet:
        pod = PodRef(uid=PodUid("u"), namespace="default", name="p", attempt=0)
        cell = await fleet.claim(PodClaim(pod=pod, demand=demand_of(None)))
        there = OneCell(cast("Cells", fleet), cell.name)

        for image in (OWN, OTHER):
            await pull(there, cri.PullImageRequest(image=cri.ImageSpec(image=image)), RegistryAccess(login))
        assert fleet.doubles[cell.name].logins == [("cloud", "secret"), ("", "")]


@asynccontextmanager
async def images(fleet: CellsDouble, by: LoginOf | None) -> AsyncGenerator[Images]:
    known = cast("Cells", fleet)
    async with room.running(known, MemoryStore(), Ways(Carrier(b"key")), "shim", RegistryAccess(by)) as sandboxes:
        yield Images(sandboxes, Stock(known, by), "/", PullBackoff(0.0), lambda _: ())


async def test_the_shim_logs_in_where_the_kubelet_sends_no_credentials_of_its_own() -> None:
    async with cells() as fleet, images(fleet, login) as of_shim:
        mine = cri.AuthConfig(username="kubelet", password="own")
        for image, auth in ((OWN, None), (OTHER, None), (OWN, mine)):
            await of_shim.pull(cri.PullImageRequest(image=cri.ImageSpec(image=image), auth=auth))
        (double,) = fleet.doubles.values()
        assert double.logins == [("cloud", "secret"), ("", ""), ("kubelet", "own")]


async def test_a_cloud_without_registries_changes_nothing_and_a_refusal_is_told() -> None:
    async with cells() as fleet, images(fleet, None) as unknowing, images(fleet, denied) as refused:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=OWN))
        await unknowing.pull(request)
        with pytest.raises(Fault, match="the role may not"):
            await refused.pull(request)
        (double,) = fleet.doubles.values()
        assert double.logins == [("", "")]
