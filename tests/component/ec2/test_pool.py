"""Warm cells on EC2: of every kind that pods ask for, named after their pods, replaced, and not asked for in vain."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.clouds.ec2.instances import tagging
from controller.clouds.ec2.machine_images.own_images import TAG_CELL
from controller.fleet import reconciler
from controller.fleet.pool import keeper
from controller.fleet.pool.keeper import PoolSettings
from controller.fleet.pool.warm_cells import Class
from controller.model.cell import Cell, CellState
from controller.model.names import PodUid
from controller.model.offer import Demand, LaunchType
from controller.model.pod import PodClaim, PodRef
from tests.support.ec2_launches import backend
from tests.support.ec2_world import SETTINGS, ControllerLife, Ec2World, world
from tests.support.waiting import until, until_found

SMALL = Demand(cpu_millis=200, memory_mib=256)
GPU = Demand(cpu_millis=1000, memory_mib=2048, gpus=1)
P = "chinampa.dev/"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PASS_SECONDS", 0.2)
    monkeypatch.setattr(tagging, "_QUIET_SECONDS", 0.5)


def with_pool(*classes: Class) -> Any:
    return msgspec.structs.replace(SETTINGS, standby=PoolSettings(classes=classes))


def claim(name: str, demand: Demand = SMALL, **annotations: str) -> PodClaim:
    said = {f"{P}{key.replace('_', '-')}": value for key, value in annotations.items()}
    pod = PodRef(uid=PodUid(f"uid-{name}"), namespace="shop", name=name)
    return PodClaim(pod=pod, demand=demand, labels={"tier": "front"}, annotations=said)


def ready(here: ControllerLife) -> list[Cell]:
    return [cell for cell in here.fleet.list() if cell.state is CellState.READY and cell.connected]


async def test_spot_gpu_and_private_pods_each_take_the_warm_cell_that_stands_by_for_them(tmp_path: Path) -> None:
    classes = (
        Class(name="spot", demand=SMALL, count=1, annotations={f"{P}launch-type": "spot"}),
        Class(name="gpu", demand=GPU, count=1, annotations={f"{P}gpu-name": "t4"}),
        Class(name="public", demand=SMALL, count=1, annotations={f"{P}public-address": "true"}),
    )
    async with world(tmp_path) as w, w.controller(with_pool(*classes)) as here:
        await until(lambda: len(ready(here)) == 3)
        warm = {cell.standby.of: cell for cell in ready(here) if cell.standby}
        spot, gpu, public = (warm[name] for name in ("spot", "gpu", "public"))
        bought = {name: cell.offer for name, cell in warm.items() if cell.offer is not None}
        assert bought["spot"].launch_type is LaunchType.SPOT
        assert [one.name for one in (bought["gpu"].shape.gpus,) if one] == ["t4"]
        templates = [call.parameters for call in w.front.calls if call.action == "CreateLaunchTemplate"]
        cards = [one["LaunchTemplateData"]["NetworkInterfaces"][0] for one in templates]
        assert {str(card["AssociatePublicIpAddress"]).lower() for card in cards} == {"false", "true"}

        pods = (
            claim("s", launch_type="spot"),
            claim("g", GPU, gpu_name="t4"),
            claim("p", public_address="true"),
        )
        async with here.asking(*pods) as asked:
            took = [(await one).name for one in asked]
        assert took == [spot.name, gpu.name, public.name]


async def test_a_warm_instance_bears_its_pods_name_namespace_and_labels_once_it_is_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.controller(with_pool(Class(name="web", demand=SMALL, count=1))) as here:
        await until(lambda: ready(here))
        (warm,) = ready(here)
        async with here.asking(claim("web")) as (asked,):
            cell = await asked
        assert cell.name == warm.name
        wanted = {"Name": "shop/web", f"{P}pod": "web", f"{P}namespace": "shop", "tier": "front"}

        async def named() -> bool:
            return (await w.alive())[str(cell.instance)].items() >= wanted.items()

        await until_found(named)
        (listed,) = [one for one in await here.cloud.instances() if one.id == cell.instance]
        assert listed.client_token == warm.client_token, "it is still found as this cell's"


async def test_a_controller_that_was_killed_before_it_named_an_instance_names_it_in_its_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = with_pool(Class(name="web", demand=SMALL, count=1))
    monkeypatch.setattr(tagging, "_QUIET_SECONDS", 60.0)
    async with world(tmp_path) as w:
        async with w.controller(pool) as here:
            await until(lambda: ready(here))
            async with here.asking(claim("web")) as (asked,):
                cell = await asked
        monkeypatch.setattr(tagging, "_QUIET_SECONDS", 0.2)
        assert (await w.alive())[str(cell.instance)]["Name"] != "shop/web"
        async with w.controller(SETTINGS):

            async def named() -> bool:
                return (await w.alive())[str(cell.instance)]["Name"] == "shop/web"

            await until_found(named)


async def test_while_there_is_no_capacity_warm_cells_are_not_asked_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(keeper, pause, 3600.0)
    async with world(tmp_path) as w:
        w.front.rules.limit(market="spot")
        spot = Class(name="spot", demand=SMALL, count=3, annotations={f"{P}launch-type": "spot"})
        async with w.controller(with_pool(spot, Class(name="web", demand=SMALL, count=1))) as here:
            await until(lambda: [cell.standby.of for cell in ready(here) if cell.standby] == ["web"])
            await until(lambda: any(each.of == "spot" and each.failed == 3 for each in here.fleet.pool()))
            tried = len(spot_calls(w))
            await asyncio.sleep(2.0)
            assert len(spot_calls(w)) == tried
            assert tried <= 30


def spot_calls(w: Ec2World) -> list[dict[str, Any]]:
    return [one for one in w.launching() if one["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "spot"]


async def test_warm_cells_of_an_older_machine_image_and_those_that_waited_long_are_replaced(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        pool = with_pool(Class(name="web", demand=SMALL, count=1))
        async with w.controller(pool) as here:
            await until(lambda: ready(here))
            (first,) = ready(here)
        newer = (await w.front.ask("CopyImage", Name="newer", SourceImageId=w.account.image, SourceRegion="us-east-1"))[
            "ImageId"
        ]
        async with w.controller(pool, image_amd64=newer, image_arm64=newer) as here:
            await until(lambda: [cell.name for cell in here.fleet.list()] not in ([], [first.name]) and ready(here))
            await until(lambda: len(here.fleet.list()) == 1)
            (second,) = here.fleet.list()
            assert second.name != first.name
            (one,) = [one for one in await w.described() if one["State"]["Name"] == "running"]
            assert one["ImageId"] == newer

        aged = with_pool(Class(name="web", demand=SMALL, count=1, max_age=3.0))
        async with w.controller(aged, image_amd64=newer, image_arm64=newer) as here:
            await until(lambda: second.name not in [cell.name for cell in here.fleet.list()])
            await until(lambda: ready(here))


async def published(w: Ec2World, name: str, created: str) -> str:
    """An image that bears our tag, as `chinampa image publish` leaves it."""
    made = await w.front.ask("CopyImage", Name=name, SourceImageId=w.account.image, SourceRegion="us-east-1")
    await w.front.ask("CreateTags", Resources=[made["ImageId"]], Tags=[{"Key": TAG_CELL, "Value": "amd64"}])
    backend().amis[made["ImageId"]].creation_date = datetime.datetime.fromisoformat(created)
    return made["ImageId"]


async def test_an_image_that_is_published_while_the_controller_runs_is_launched_and_idle_older_cells_go(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        older = await published(w, "older", "2026-01-01T00:00:00Z")
        pool = with_pool(Class(name="web", demand=SMALL, count=1))
        async with w.controller(pool, image_amd64="auto", image_arm64="none", images_seconds=0.5) as here:
            await until(lambda: ready(here))
            busy = await here.fleet.claim(claim("busy"))
            await until(lambda: ready(here))
            (idle,) = ready(here)
            newer = await published(w, "newer", "2026-02-01T00:00:00Z")
            await until(lambda: ready(here) and idle.name not in [cell.name for cell in here.fleet.list()])
            boots = {
                one["InstanceId"]: one["ImageId"] for one in await w.described() if one["State"]["Name"] == "running"
            }
            (fresh,) = ready(here)
            assert boots == {busy.instance: older, fresh.instance: newer}, "the cell that has a pod is left alone"
