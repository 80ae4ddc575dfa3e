"""A pod's images come while its sandbox is made, and what came of them is told as it always is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.cells_double import cells
from tests.support.pods_api import PodsApiWorld, world
from tests.support.waiting import until


def pod(**of_second: Any) -> str:
    first = {"name": "first", "image": "busybox:1", "command": ["sh", "-c", "sleep 1000"]}
    second = {"name": "second", "image": "busybox:2", "command": ["sh", "-c", "sleep 1000"], **of_second}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {"containers": [first, second], "restartPolicy": "Never"},
        }
    )


async def events(here: PodsApiWorld) -> list[str]:
    told = json.loads(await here.ok("get", "events", "-o", "json"))["items"]
    return [one["message"] for one in told]


async def test_all_images_are_pulled_before_there_is_a_sandbox_and_each_of_them_once(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        fleet.sandboxes_go.clear()
        await here.ok("apply", "-f", "-", stdin=pod())
        await until(lambda: [one.pulled for one in fleet.doubles.values()] == [["busybox:1", "busybox:2"]])
        (double,) = fleet.doubles.values()
        assert not double.sandboxes
        fleet.sandboxes_go.set()
        await here.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=15s")
        assert double.pulled == ["busybox:1", "busybox:2"]
        said = await events(here)
        for image in ("busybox:1", "busybox:2"):
            assert any(words.startswith(f'Successfully pulled image "{image}"') for words in said), said


async def test_an_image_that_cannot_be_had_keeps_its_container_only_and_is_tried_again(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=pod(image="absent:1"))
        await here.until("ErrImagePull", "get", "pod", "web", "-o", "yaml")
        assert any('Failed to pull image "absent:1"' in words for words in await events(here))
        (double,) = fleet.doubles.values()
        await until(lambda: double.pulled.count("absent:1") > 1, seconds=30)
        assert len(double.containers) == 1


async def test_an_image_that_is_never_to_be_pulled_is_not(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=pod(imagePullPolicy="Never"))
        await here.until("ErrImageNeverPull", "get", "pod", "web", "-o", "yaml")
        (double,) = fleet.doubles.values()
        assert double.pulled == ["busybox:1"]


async def test_containers_of_one_image_that_comes_after_the_sandbox_start_without_a_fault(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        fleet.pulls_go.clear()
        await here.ok("apply", "-f", "-", stdin=pod(image="busybox:1"))
        await until(lambda: bool(fleet.doubles))
        (double,) = fleet.doubles.values()
        await here.until("podIP: ", "get", "pod", "web", "-o", "yaml")
        # Nothing tells that the first start waits for its image by now; too short a pause could hide the fault only.
        await asyncio.sleep(0.3)
        assert double.pulls == 1
        fleet.pulls_go.set()
        await here.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=15s")
        said = await events(here)
        assert not [words for words in said if "tried again" in words], said
        assert double.pulled == ["busybox:1"]
