"""A controller that is killed around any call of a launch: its next life has each cell's instance, once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest

from controller.clouds.ec2 import ec2_cloud as ec2
from controller.clouds.protocol import LaunchRequest
from controller.model.offer import LaunchType
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.launching import launched_all

CELLS = 4


class Killed(Exception):
    """The process is gone."""


async def first_life(on: CloudStage, requests: list[LaunchRequest], action: str, *, answered: bool) -> None:
    """Launches until it is killed at this action: before its answer arrives, or just after."""
    with on.front.watch() as heard, contextlib.suppress(BaseExceptionGroup, Killed):
        async with ec2.running(msgspec.structs.replace(on.settings, fleets=True)) as cloud:
            died = asyncio.Event()

            def called(service: str, its: str, outcome: str, seconds: float) -> None:
                if answered and its == action and outcome == "ok" and asked.is_set():
                    died.set()

            asked = asyncio.Event()
            cloud.calls.on_call = called
            async with asyncio.TaskGroup() as tasks:
                for one in requests:
                    tasks.create_task(cloud.launch(one))
                await asyncio.sleep(0)
                asked.set()
                if answered:
                    await died.wait()
                else:
                    while (await heard.get()).action != action:
                        pass
                raise Killed


@pytest.mark.parametrize("answered", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("action", ["CreateLaunchTemplate", "CreateFleet", "DescribeInstances"])
async def test_a_controller_killed_around_a_call_leaves_what_its_next_life_repairs(
    tmp_path: Path, action: str, answered: bool
) -> None:
    # The stage's own cloud makes no launch templates: the first life must make them, to be killed in between.
    async with stage(tmp_path, fleets=False) as on:
        offers = tuple(each for each in await on.cloud.offers() if each.launch_type is LaunchType.ON_DEMAND)[:10]
        requests = [
            LaunchRequest(client_token=f"c-{n}-1-a", offers=offers, user_data="#!/bin/sh\n", tags={"n": str(n)})
            for n in range(CELLS)
        ]
        await first_life(on, requests, action, answered=answered)

        async with on.reopen(fleets=True) as later:
            known = {one.client_token: one.id for one in await later.instances()}
            # As the fleet: adopt what is listed, ask again for the rest, in another grouping.
            rest = [one for one in requests if one.client_token not in known]
            outcomes = [*await launched_all(later, rest[::2]), *await launched_all(later, rest[1::2])]
            known |= {one.client_token: one.instance.id for one in outcomes if one.instance}

        assert set(known) == {one.client_token for one in requests}
        assert sorted(known.values()) == sorted(each["InstanceId"] for each in await on.alive())
