"""Pulls from a registry of the cloud's own are logged in with the controller's credentials, whoever asks for them."""

from __future__ import annotations

from typing import cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Login, LoginOf
from controller.fleet.cells import Cells
from controller.model.names import PodUid
from controller.model.pod import PodClaim, PodRef
from controller.pods.cri import CellRuntime
from controller.sandboxes.memory import Memory
from controller.shim.images import Images
from controller.shim.stock import Stock
from tests.support.cells_double import CellsDouble, cells, demand_of
from tests.support.memory_store import remembering

OWN, OTHER = "registry.cloud/app:1", "registry.other/app:1"


async def login(image: str) -> Login | None:
    return Login(username="cloud", password="secret") if image == OWN else None


async def denied(image: str) -> Login | None:
    raise Fault(Kind.DENIED, f"login for {image}", "the role may not")


async def test_the_pod_engine_logs_in_to_the_clouds_registries_only() -> None:
    async with cells() as fleet:
        pod = PodRef(uid=PodUid("u"), namespace="default", name="p", attempt=0)
        cell = await fleet.claim(PodClaim(pod=pod, demand=demand_of(None)))
        runtime = CellRuntime(cast("Cells", fleet), cell.name, login)

        for image in (OWN, OTHER):
            await runtime.pull(image, cri.PodSandboxConfig())
        assert fleet.doubles[cell.name].logins == [("cloud", "secret"), ("", "")]


def images(fleet: CellsDouble, memory: Memory, by: LoginOf | None) -> Images:
    known = cast("Cells", fleet)
    return Images(known, memory, Stock(known), "/", by)


async def test_the_shim_logs_in_where_the_kubelet_sends_no_credentials_of_its_own() -> None:
    async with cells() as fleet, remembering() as memory:
        mine = cri.AuthConfig(username="kubelet", password="own")
        of_shim = images(fleet, memory, login)
        for image, auth in ((OWN, None), (OTHER, None), (OWN, mine)):
            await of_shim.pull(cri.PullImageRequest(image=cri.ImageSpec(image=image), auth=auth))
        (double,) = fleet.doubles.values()
        assert double.logins == [("cloud", "secret"), ("", ""), ("kubelet", "own")]


async def test_a_cloud_without_registries_changes_nothing_and_a_refusal_is_told() -> None:
    async with cells() as fleet, remembering() as memory:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=OWN))
        await images(fleet, memory, None).pull(request)
        with pytest.raises(Fault, match="the role may not"):
            await images(fleet, memory, denied).pull(request)
        (double,) = fleet.doubles.values()
        assert double.logins == [("", "")]
