"""What a cell has already is begun with where the pod's registry still gives it under that name, to that pod."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.clouds.protocol import Login
from controller.fleet.cells import Cells
from controller.model.names import PodUid
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.pulling import RegistryAccess, pull
from tests.support.cells_double import cells, demand_of
from tests.support.cri_double import CellDouble

IMAGE, OLD, NEW = "registry.other/app:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64
HELD = cri.Image(id="sha256:" + "c" * 64, repo_tags=[IMAGE], repo_digests=[f"registry.other/app@{OLD}"])


class Registry:
    """Says `tells` to those whose name is `knows`; "" is anybody's."""

    def __init__(self, tells: str, knows: str = "") -> None:
        self._tells = tells
        self._knows = knows
        self.asked: list[str] = []

    async def digest(self, image: str, login: Login | None) -> str:
        assert image == IMAGE
        self.asked.append(login.username if login is not None else "")
        return self._tells if self.asked[-1] == self._knows else ""


@asynccontextmanager
async def cell() -> AsyncGenerator[tuple[OneCell, CellDouble]]:
    async with cells() as fleet:
        pod = PodRef(uid=PodUid("u"), namespace="default", name="p", attempt=0)
        one = await fleet.claim(PodClaim(pod=pod, demand=demand_of(None)))
        yield OneCell(cast("Cells", fleet), one.name), fleet.doubles[one.name]


def asked(**auth: str) -> cri.PullImageRequest:
    return cri.PullImageRequest(image=cri.ImageSpec(image=IMAGE), auth=cri.AuthConfig(**auth) if auth else None)


async def test_a_cell_that_has_what_the_name_stands_for_is_not_asked_to_pull() -> None:
    registry = Registry(OLD)
    async with cell() as (there, double):
        double.held[IMAGE] = HELD
        assert await pull(there, asked(), RegistryAccess(digest=registry.digest)) == HELD.id
        assert not double.pulled


@pytest.mark.parametrize("tells", [NEW, ""], ids=["moved on", "refused or silent"])
async def test_a_cell_pulls_where_the_name_stands_for_another_image_or_its_registry_does_not_say(tells: str) -> None:
    registry = Registry(tells)
    async with cell() as (there, double):
        double.held[IMAGE] = HELD
        assert await pull(there, asked(), RegistryAccess(digest=registry.digest)) != HELD.id
        assert double.pulled == [IMAGE]
        assert registry.asked == [""]


async def test_a_registry_is_asked_only_about_what_a_cell_has() -> None:
    registry = Registry(OLD)
    async with cell() as (there, double):
        await pull(there, asked(), RegistryAccess(digest=registry.digest))
        assert double.pulled == [IMAGE]
        assert not registry.asked


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        ({"username": "ann", "password": "x"}, ["ann"]),
        ({"auth": "YW5uOng="}, ["ann"]),  # ann:x
        ({"identity_token": "t"}, []),
        ({"registry_token": "t"}, []),
        ({"auth": "%"}, []),
    ],
    ids=["name", "base64", "identity token", "registry token", "broken"],
)
async def test_the_pods_own_login_is_what_counts_and_others_kinds_are_the_cells(
    auth: dict[str, str], shown: list[str]
) -> None:
    registry = Registry(OLD, knows="ann")
    async with cell() as (there, double):
        double.held[IMAGE] = HELD
        await pull(there, asked(**auth), RegistryAccess(digest=registry.digest))
        assert registry.asked == shown
        assert bool(double.pulled) == (not shown)
