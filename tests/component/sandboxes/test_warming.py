"""What cells have of images before anybody asks: those of a kubelet's pod as soon as its cell is connected."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from controller.fleet.cells import Telling
from controller.fleet.pool.configured import ClassImages
from controller.model.names import PodUid
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes import warming
from controller.sandboxes.pulling import NOBODY
from tests.support.cells_double import CellsDouble, cells, demand_of
from tests.support.waiting import until


def claim(name: str, by: str = "shim", *images: str) -> PodClaim:
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    return PodClaim(pod=pod, demand=demand_of(None), by=by, images=images)


def pulled(fleet: CellsDouble) -> list[list[str]]:
    return [double.pulled for double in fleet.doubles.values()]


def early(fleet: CellsDouble, wanted: dict[str, ClassImages] | None = None) -> Any:
    return warming.running(cast("Telling", fleet), wanted or {}, NOBODY, early={"shim"})


async def test_the_images_of_a_kubelets_pod_come_before_its_kubelet_asks_and_each_once() -> None:
    async with cells() as fleet, early(fleet):
        await fleet.claim(claim("a", "shim", "busybox:1", "absent:1", "busybox:2"))
        await until(lambda: pulled(fleet) == [["busybox:1", "absent:1", "busybox:2"]])


async def test_those_of_the_pods_api_are_its_own_work_and_of_others_nobody_has_told() -> None:
    async with cells() as fleet, early(fleet):
        await fleet.claim(claim("a", "", "busybox:1"))
        await fleet.claim(claim("b", "shim"))
        await fleet.claim(claim("c", "shim", "busybox:3"))
        await until(lambda: pulled(fleet) == [[], [], ["busybox:3"]])


async def test_cells_that_come_back_after_a_restart_of_the_controller_are_left_alone() -> None:
    async with cells() as fleet:
        known = await fleet.claim(claim("a", "shim", "busybox:1"))
        known.moments["claimed"] = time.time() - 3600
        async with early(fleet):
            await fleet.claim(claim("b", "shim", "busybox:2"))
            await until(lambda: pulled(fleet) == [[], ["busybox:2"]])
            await asyncio.sleep(0)
