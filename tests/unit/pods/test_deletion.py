from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from controller.pods.pod_keeper import LEEWAY, PodDeletion, asked_before, over_by

DELETED = {"deletionTimestamp": "2026-11-30T22:00:30Z", "deletionGracePeriodSeconds": 30}
ASKED = 1796076000.0  # 22:00:00


def test_a_grace_goes_on_where_it_stood_when_a_controller_starts() -> None:
    assert asked_before(DELETED, ASKED + 12) == (18.0, False)


@pytest.mark.parametrize(("wanted", "by"), [(ASKED + 10, ASKED + 10), (ASKED + 100, ASKED + 30)])
def test_who_deletes_a_pod_again_brings_its_end_forward_and_never_puts_it_off(wanted: float, by: float) -> None:
    assert over_by({}, wanted) == wanted
    assert over_by(DELETED, wanted) == by


@pytest.mark.parametrize("ahead", [60, 3600, 86400 * 365])
def test_a_deletion_that_was_asked_for_while_the_clock_was_ahead_lasts_no_longer(ahead: float) -> None:
    assert asked_before(DELETED, ASKED - ahead) == (30.0, False)


def test_a_deletion_by_force_is_so_after_a_start() -> None:
    left, forced = asked_before({**DELETED, "deletionGracePeriodSeconds": 0}, ASKED - 3600)
    assert forced
    assert left == 0


async def test_the_grace_of_a_deletion_lasts_as_long_though_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    deletion, graces = PodDeletion(), list[float]()

    async def stop_all(left: Callable[[], float]) -> None:
        graces.append(left())

    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: ASKED + 3600)
        deletion.request(30, forced=False)
    await deletion.requested()
    await deletion.stopped(stop_all, lambda: LEEWAY)
    assert 0 < graces[0] <= 30


async def test_a_second_deletion_shortens_the_grace_and_never_lengthens_it() -> None:
    deletion, graces = PodDeletion(), list[float]()
    begun = asyncio.Event()

    async def stop_all(left: Callable[[], float]) -> None:
        graces.append(left())
        begun.set()
        if len(graces) == 1:
            await asyncio.Event().wait()

    deletion.request(300, forced=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deletion.stopped(stop_all, lambda: LEEWAY))
        await begun.wait()
        deletion.request(600, forced=False)
        deletion.request(1, forced=False)
    assert graces[0] > 250
    assert graces[1] <= 1
