"""Warm cells that really booted, and records in a real etcd, over a kill of the controller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.test_the_whole_way import COUNT, pod
from tests.support.controller import running_controller
from tests.support.etcd import running_etcd

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]

STANDBY = '[[standby]]\nname = "web"\ncount = 1\ncpu = "100m"\nmemory = "32Mi"\n'


async def test_a_pod_takes_the_warm_cell_and_another_is_made_in_its_place(tmp_path: Path) -> None:
    async with running_controller(tmp_path, STANDBY) as controller:
        await controller.until(lambda cells: [each["state"] for each in cells] == ["ready"])
        (warm,) = await controller.cells()
        await controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        await controller.until(lambda cells: sorted(each["state"] for each in cells) == ["claimed", "ready"])

        assert [each["name"] for each in await controller.cells() if each["state"] == "claimed"] == [warm["name"]]


async def test_pods_outlive_a_killed_controller_whose_records_are_in_etcd(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with running_etcd(tmp_path / "etcd") as member:
        store = f'[store]\nkind = "etcd"\nendpoints = ["{member.endpoint}"]\nlease = 3.0\n'
        async with running_controller(tmp_path, store) as controller:
            await controller.kubectl("apply", "-f", "-", stdin=pod("web", COUNT))
            await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
            before = await controller.cells()
            await controller.kill()
            await controller.start()
            await controller.until(lambda cells: [each["state"] for each in cells] == ["claimed"])

            assert [each["name"] for each in await controller.cells()] == [each["name"] for each in before]
            await controller.logged("web", "line 1\nline 2\n")
            assert not (tmp_path / "state" / "records.sqlite").exists()
            await controller.kubectl("delete", "pod", "web")
            await controller.until(lambda cells: not cells)
