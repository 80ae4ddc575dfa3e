"""What goes wrong at EC2 ends in running pods, or in words that kubectl shows; with no instance too many."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.test_ec2 import nothing_is_left, ready
from tests.support.ec2_controller import ControllerOnEc2, running_on_ec2
from tests.support.manifests import pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]

QUICK = "call_seconds = 2.0\n"


async def described(world: ControllerOnEc2, name: str, *words: str, seconds: float = 40.0) -> str:
    """What `kubectl describe` says of a pod once all these words are in it: there is time while launches are tried."""
    text, tried = "", 0
    try:
        async with asyncio.timeout(seconds) as patience:
            while not all(word in text for word in words):
                if (now_tried := len(world.launches())) != tried:
                    tried = now_tried
                    patience.reschedule(asyncio.get_running_loop().time() + seconds)
                text = await world.controller.kubectl("describe", "pod", name)
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"{text}\n{world.front.table()}\n{world.controller.words()}") from None
    return text


async def test_while_ec2_is_silent_the_pod_says_so_and_runs_once_it_speaks(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, more=QUICK) as world:
        world.front.rules.hang("CreateFleet", "RunInstances")
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        told = await described(world, "web", "FailedScheduling", "CreateFleet: no answer", "it is asked again")
        assert "Warning" in told
        assert world.states() == {}

        world.front.rules.heal()
        await ready(world, "web")
        assert len(world.states()) == 1
        await world.controller.kubectl("delete", "pod", "web")
        await nothing_is_left(world)


async def test_pods_run_though_no_launch_is_ever_answered_each_on_one_instance(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, more=QUICK) as world:
        world.front.rules.lose("CreateFleet", 1000)
        names = ["a", "b", "c"]
        await world.controller.kubectl("apply", "-f", "-", stdin="".join(pod(name) for name in names))
        await ready(world, *names)  # their instances show in a list
        assert {call.outcome for call in world.launches()} == {"lost"}
        assert len(world.states()) == 3

        await world.controller.kubectl("delete", "pods", "--all", seconds=120)
        await nothing_is_left(world)


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("InsufficientInstanceCapacity", "asked for again"),
        ("InstanceLimitExceeded", "ask AWS for a higher limit"),
        ("VcpuLimitExceeded", "ask AWS for a higher vCPU limit"),
    ],
)
async def test_a_pod_for_which_no_offer_is_left_says_why_and_what_would_help(
    tmp_path: Path, code: str, mend: str
) -> None:
    async with running_on_ec2(tmp_path) as world:
        world.front.rules.limit(code=code)
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await described(world, "web", "FailedScheduling", code, "it goes on being tried")
        await described(world, "web", "FailedScheduling", code, mend)
        assert world.states() == {}


async def test_a_missing_right_is_named_in_the_pods_events(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        world.front.rules.fail("CreateFleet", "UnauthorizedOperation")
        world.front.rules.fail("RunInstances", "UnauthorizedOperation")
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await described(world, "web", "UnauthorizedOperation", "allow ec2:RunInstances for the controller's role")
        assert world.states() == {}


async def test_a_pod_that_allows_spot_and_on_demand_runs_on_demand_where_there_is_no_spot(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        world.front.rules.limit(market="spot")
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web", launch_type="spot,on-demand"))
        await ready(world, "web")
        markets = [
            call.parameters["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
            for call in world.front.calls
            if call.action == "CreateFleet"
        ]
        assert list(dict.fromkeys(markets)) == ["spot", "on-demand"], "a fleet tries three of its options"
        assert markets.count("on-demand") == 1
        (cell,) = await world.controller.cells()
        assert cell["instance"] in world.running()


async def test_where_fleets_are_switched_off_pods_run_by_run_instances_and_show_the_same(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, more="fleets = false\n") as world:
        names = [f"pod-{number}" for number in range(3)]
        await world.controller.kubectl("apply", "-f", "-", stdin="".join(pod(name) for name in names))
        await ready(world, *names)
        assert {call.action for call in world.launches()} == {"RunInstances"}
        assert not [call for call in world.front.calls if call.action == "CreateLaunchTemplate"]
        assert "line" in await world.controller.kubectl("exec", "pod-0", "--", "echo", "line")

        await world.controller.kubectl("delete", "pods", "--all", seconds=120)
        await nothing_is_left(world)


ASK = r'(printf "GET /latest/meta-data/ HTTP/1.0\r\n\r\n"; sleep 1) | nc -w 3 169.254.169.254 80 2>&1; echo "end"'


async def test_only_a_pod_that_may_reach_the_metadata_service_does(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("shut") + pod("open", metadata="true"))
        await ready(world, "shut", "open")

        async def asked(name: str) -> str:
            return await world.controller.kubectl("exec", name, "--", "sh", "-c", ASK)

        shut, opened = await asked("shut"), await asked("open")
        # Without a token the service answers 401: it was reached.
        assert "401" in opened, (opened, shut)
        assert "401" not in shut, shut
        assert "end" in shut
        framed = [
            call.parameters["LaunchTemplateData"]["MetadataOptions"]
            for call in world.front.calls
            if call.action == "CreateLaunchTemplate"
        ]
        said = [
            override["MetadataOptions"]
            for call in world.launches()
            for config in call.parameters["LaunchTemplateConfigs"]
            for override in config["Overrides"]
            if "MetadataOptions" in override
        ]
        assert {str(options["HttpPutResponseHopLimit"]) for options in framed} == {"1"}
        assert {str(options["HttpPutResponseHopLimit"]) for options in said} == {"2"}
