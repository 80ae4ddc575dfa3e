"""Plain kubectl, a controller process, EC2 that throttles and fails as the real one, instances that really boot."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from controller.model.cost import dollars
from tests.support.ec2_controller import ControllerOnEc2, running_on_ec2
from tests.support.ec2_instances import SPOT
from tests.support.manifests import COUNT, pod
from tests.support.shim import settings_in, shim_of
from tests.support.waiting import until_found

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]


def usd_per_hour(exposition: str) -> dict[str, float]:
    """What is spent on each namespace, by /metrics."""
    rows = re.findall(r'^chinampa_usd_per_hour\{.*namespace="([^"]*)".*\} (\S+)$', exposition, re.MULTILINE)
    return {namespace: float(usd) for namespace, usd in rows}


async def ready(world: ControllerOnEc2, *names: str, seconds: int = 90) -> None:
    for name in names:
        await world.controller.kubectl(
            "wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={seconds}s", seconds=seconds + 10
        )


async def until(condition: Callable[[], bool], world: ControllerOnEc2, seconds: float = 30.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{world.states()}\n{world.front.table()}\n{world.controller.words()}") from None


async def nothing_is_left(world: ControllerOnEc2) -> None:
    """After the last pod, nothing that carries our tag and costs money is left in the account."""
    await world.controller.until(lambda cells: not cells)
    await until(lambda: not world.running(), world)
    await until(lambda: not world.instances.alive, world)
    assert await world.tagged() == {"instances": [], "volumes": [], "interfaces": []}


async def test_a_pod_lives_and_dies_on_ec2_as_kubectl_expects(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        kubectl = world.controller.kubectl
        await kubectl("apply", "-f", "-", stdin=pod("web", COUNT))
        await ready(world, "web")
        (instance,) = world.running()
        (cell,) = await world.controller.cells()
        assert cell["instance"] == instance
        await world.controller.logged("web", "line 1\nline 2\n")
        status, _, _ = await world.controller.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
        assert status == 7

        await kubectl("delete", "pod", "web")
        await nothing_is_left(world)
        assert world.states() == {instance: "terminated"}


async def test_what_a_pod_costs_is_on_the_pod_in_its_events_and_in_the_metrics_until_it_ends(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        kubectl = world.controller.kubectl
        await kubectl("create", "namespace", "shop")
        await kubectl("apply", "-n", "shop", "-f", "-", stdin=pod("web", COUNT))
        await kubectl("wait", "-n", "shop", "--for=condition=Ready", "pod/web", "--timeout=90s")
        shown = json.loads(await kubectl("get", "pod", "-n", "shop", "web", "-o", "json"))["metadata"]["annotations"]
        price = float(shown["chinampa.dev/hourly-price"])
        assert price > 0
        assert f"for {dollars(price)} USD/h" in await kubectl("describe", "pod", "-n", "shop", "web")
        assert usd_per_hour(await kubectl("get", "--raw", "/metrics"))["shop"] == pytest.approx(price)

        await kubectl("delete", "pod", "-n", "shop", "web")
        await nothing_is_left(world)
        assert "shop" not in usd_per_hour(await kubectl("get", "--raw", "/metrics"))


async def test_pods_of_like_demand_asked_for_at_once_share_launching_calls(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        names = [f"pod-{number}" for number in range(6)]
        await world.controller.kubectl("apply", "-f", "-", stdin="".join(pod(name) for name in names))
        await ready(world, *names)
        assert len(world.running()) == 6
        assert len(world.launches()) < 6
        assert sum(len(one.instances) for one in world.launches()) == 6
        assert not world.front.buckets.refused

        await world.controller.kubectl("delete", "pods", "--all", seconds=120)
        await nothing_is_left(world)


async def test_a_pod_whose_instance_is_taken_back_runs_anew_on_another(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await ready(world, "web")
        (taken,) = world.running()
        await world.instances.stop(taken, SPOT)
        await until(lambda: any(name != taken for name in world.running()), world)
        await world.controller.until(
            lambda cells: any(one["instance"] not in (taken, None) and one["connected"] for one in cells)
        )
        await ready(world, "web")
        assert len(world.running()) == 1

        await world.controller.kubectl("delete", "pod", "web")
        await nothing_is_left(world)


BYE = "trap 'echo bye; exit 5' TERM; echo began; while :; do sleep 0.1; done"
LONG_BYE = BYE.replace("echo bye;", "echo bye; sleep 8;")


async def test_a_pod_that_is_warned_in_the_queue_ends_in_order_and_its_successor_is_launched_meanwhile(
    tmp_path: Path,
) -> None:
    async with running_on_ec2(tmp_path) as world:
        kubectl = world.controller.kubectl
        await kubectl("apply", "-f", "-", stdin=pod("web", LONG_BYE).replace("PeriodSeconds: 1", "PeriodSeconds: 20"))
        await ready(world, "web")
        (taken,) = world.running()
        await world.interrupt(taken)
        await world.controller.until(
            lambda cells: any(one["instance"] not in (taken, None) and one["state"] == "claimed" for one in cells)
        )

        async def ran_before() -> Any:
            status = json.loads(await kubectl("get", "pod", "web", "-o", "json"))["status"]
            return next((one["lastState"].get("terminated") for one in status.get("containerStatuses", ())), None)

        last = await until_found(ran_before, 30)
        await ready(world, "web")
        described = await kubectl("describe", "pod", "web")
        assert f"instance {taken} will be reclaimed at 20" in described
        assert "Interrupted" in described
        assert (last["exitCode"], last["reason"]) == (5, "Interrupted")
        assert "began\nbye\n" in await kubectl("logs", "web", "--previous")
        await until(lambda: taken not in world.running(), world)
        launched = {instance: one.at for one in world.launches() for instance in one.instances}
        ended = next(one.at for one in world.front.calls if taken in one.instances and one.action.startswith("Term"))
        (successor,) = world.running()
        assert launched[successor] < ended, "the next one is launched while the old one still winds down"

        await kubectl("delete", "pod", "web")
        await nothing_is_left(world)


async def test_a_kubelets_sandbox_on_an_instance_that_will_be_taken_is_ended_with_the_reason(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, more=settings_in(tmp_path)) as world:
        with shim_of(world.controller, tmp_path) as shim:
            sandbox, container = await shim.pod("sh", "-c", BYE, uid="u1")
            (taken,) = world.running()
            await world.interrupt(taken, 45)
            for _ in range(300):
                if (await shim.sandbox_status(sandbox)).state == cri.SANDBOX_NOTREADY:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(world.controller.words())
            # As a kubelet does now: stop what runs, with a grace period that is longer than the instance has.
            asked = cri.StopContainerRequest(container_id=container, timeout=600)
            await call(shim.runtime.StopContainer, asked, deadline=60)
            status = await shim.status(container)
            assert (status.state, status.exit_code, status.reason) == (cri.CONTAINER_EXITED, 5, "Interrupted")
            assert taken in status.message
            again = await shim.run(shim.config("u1", attempt=1))
            assert again != sandbox
            await shim.remove(sandbox)
            assert "bye" in (tmp_path / "logs/u1/c/0.log").read_text()
            await shim.remove(again)
            await nothing_is_left(world)


async def test_a_pod_runs_though_the_cheapest_offers_have_no_capacity(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("first"))
        await ready(world, "first")
        cheapest = [
            override["InstanceType"]
            for one in world.launches()
            for config in one.parameters.get("LaunchTemplateConfigs", ())
            for override in sorted(config["Overrides"], key=lambda each: float(each.get("Priority", 0)))
        ]
        refused = list(dict.fromkeys(cheapest))[:3]
        assert len(refused) == 3
        for type_ in refused:
            world.front.rules.limit(type_)
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("second"))
        await ready(world, "second")
        types = {cell["pod"]: cell["type"] for cell in await world.controller.cells()}
        assert types["default/second"] not in refused

        await world.controller.kubectl("delete", "pods", "--all", seconds=120)
        await nothing_is_left(world)


async def test_a_lost_answer_launches_no_second_instance(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        world.front.rules.lose("CreateFleet")
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await ready(world, "web")
        assert [one.outcome for one in world.launches()] == ["lost"]
        assert len(world.states()) == 1

        await world.controller.kubectl("delete", "pod", "web")
        await nothing_is_left(world)


async def test_a_controller_killed_between_launch_and_answer_launches_no_second_instance(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path) as world:
        held = world.front.rules.hold("CreateFleet")
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await until(lambda: bool(world.launches()), world)
        await world.controller.kill(signal.SIGKILL)
        held.set()
        await world.controller.start()
        await ready(world, "web")
        assert len(world.states()) == 1

        await world.controller.kubectl("delete", "pod", "web")
        await nothing_is_left(world)


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
async def test_a_pod_runs_once_ec2_answers_again(tmp_path: Path, code: str) -> None:
    async with running_on_ec2(tmp_path) as world:
        world.front.rules.fail("CreateFleet", code, times=2)
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await ready(world, "web")
        assert len(world.states()) == 1

        await world.controller.kubectl("delete", "pod", "web")
        await nothing_is_left(world)


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InstanceLimitExceeded"])
async def test_a_pod_that_ec2_will_not_have_says_why(tmp_path: Path, code: str) -> None:
    async with running_on_ec2(tmp_path) as world:
        for action in ("CreateFleet", "RunInstances"):
            world.front.rules.fail(action, code)
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        described = ""
        for _ in range(100):
            described = await world.controller.kubectl("describe", "pod", "web")
            if code in described:
                break
            await asyncio.sleep(0.3)
        assert code in described
        assert world.states() == {}
