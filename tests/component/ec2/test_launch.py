"""Launching on EC2 when EC2 misbehaves: an instance or a clear fault, never two for a cell, never one for nobody."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Kind
from controller.clouds.ec2.ec2_cloud import Ec2Cloud
from controller.clouds.ec2.ec2_settings import TAG_BATCH, TAG_CLUSTER, TAG_TOKEN
from controller.clouds.ec2.instances import instance_list
from controller.clouds.protocol import LaunchRequest
from controller.model.offer import LaunchType, Offer
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.launching import kind_of, launched_all

USER_DATA = "#!/bin/sh\n" + "# a line that packs well\n" * 50


async def cheapest(cloud: Ec2Cloud, market: LaunchType = LaunchType.ON_DEMAND, most: int = 20) -> tuple[Offer, ...]:
    sold = (each for each in await cloud.offers() if each.launch_type is market and each.shape.current_generation)
    return tuple(sorted(sold, key=lambda offer: (offer.usd_per_hour, offer.shape.type, offer.zone))[:most])


def request(token: str, offers: Sequence[Offer], **more: Any) -> LaunchRequest:
    tags = {"chinampa.dev/cell": token.rpartition("-")[0] or token, "app": "web"}
    return LaunchRequest(client_token=token, offers=tuple(offers), user_data=USER_DATA, tags=tags, **more)


def types(on: CloudStage, offers: Sequence[Offer], count: int) -> list[str]:
    del on
    return list(dict.fromkeys(offer.shape.type for offer in offers))[:count]


async def test_many_cells_asked_for_one_by_one_are_one_launching_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.calls.clear()
        outcomes = await launched_all(on.cloud, [request(f"c-{number:03}-1-a", offers) for number in range(100)])

        assert all(one.instance is not None for one in outcomes), outcomes[0].fault
        assert len({one.instance.id for one in outcomes if one.instance}) == 100
        assert all(one.instance and one.instance.address and one.instance.pod_address for one in outcomes)
        assert on.front.count("CreateFleet") == 1
        assert on.front.count() <= 5, on.front.table()
        assert len(await on.alive()) == 100


async def test_the_pool_is_told_which_machine_images_cells_boot_now(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        assert "amd64=ami-" in on.cloud.image


async def test_an_instance_is_as_the_design_wants_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        requirement = {"chinampa.dev/volume-type": "gp2", "chinampa.dev/public-address": "false"}
        launched = await on.cloud.launch(
            request("c-1-1-a", await cheapest(on.cloud), volume_gb=33, annotations=requirement)
        )
        assert launched.instance is not None, launched.fault

        made = next(call for call in on.front.calls if call.action == "CreateLaunchTemplate")
        data = made.parameters["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert int(data["MetadataOptions"]["HttpPutResponseHopLimit"]) == 1
        assert data["NetworkInterfaces"][0]["Groups"] == [on.cloud.environment.security_group]
        (config,) = next(call for call in on.front.calls if call.action == "CreateFleet").parameters[
            "LaunchTemplateConfigs"
        ]
        (volume,) = (each["Ebs"] for each in config["Overrides"][0]["BlockDeviceMappings"])
        assert (volume["Encrypted"], int(volume["VolumeSize"]), volume["VolumeType"]) == (True, 33, "gp2")
        said = config["LaunchTemplateSpecification"]["LaunchTemplateSpecificationUserData"]
        assert gzip.decompress(base64.b64decode(said)).decode() == USER_DATA

        (known,) = await on.alive()
        tags = {tag["Key"]: tag["Value"] for tag in known["Tags"]}
        assert (tags[TAG_CLUSTER], tags["app"], tags["chinampa.dev/cell"]) == ("test", "web", "c-1-1")
        volumes = (await on.front.ask("DescribeVolumes"))["Volumes"]
        assert {TAG_CLUSTER, "app"} <= {tag["Key"] for tag in volumes[0]["Tags"]}
        interfaces = (await on.front.ask("DescribeNetworkInterfaces"))["NetworkInterfaces"]
        assert any({TAG_CLUSTER, "app"} <= {tag["Key"] for tag in each.get("TagSet", ())} for each in interfaces)


async def test_one_call_stands_between_a_lone_pod_and_its_instance(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        architectures = {offer.shape.architecture for offer in await on.cloud.offers()}
        with on.front.watch() as heard:
            while on.front.count("CreateLaunchTemplate") < len(architectures) * 2:  # burstable types have their own
                await heard.get()
        on.front.calls.clear()
        launched = await on.cloud.launch(request("c-1-1-a", offers, disk_gb=40))
        assert launched.instance is not None, launched.fault
        before = [call.action for call in on.front.calls if call.action != "DescribeInstances"]
        assert before == ["CreateFleet"], "its addresses are asked for while it boots"
        (known,) = await on.alive()
        volume = (await on.front.ask("DescribeVolumes"))["Volumes"][0]
        assert volume["Size"] >= 10 + 40
        told = await on.front.ask("DescribeInstanceAttribute", InstanceId=known["InstanceId"], Attribute="userData")
        assert gzip.decompress(base64.b64decode(told["UserData"]["Value"])).decode() == USER_DATA


async def test_spot_is_not_bought_above_the_limit_though_the_offers_price_was_below(tmp_path: Path) -> None:
    async with stage(tmp_path, max_price=0.05) as on:
        on.front.rules.spot_usd = 0.06
        spot = await cheapest(on.cloud, LaunchType.SPOT, 5)
        for fleets in (True, False):
            async with on.reopen(fleets=fleets) as cloud:
                launched = await cloud.launch(request(f"c-{fleets}-1-a", spot))
                assert launched.instance is None
                assert "SpotMaxPriceTooLow" in str(launched.fault)
        on.front.rules.spot_usd = 0.04
        launched = await on.cloud.launch(request("c-3-1-a", spot))
        assert launched.instance is not None, launched.fault


async def test_pods_that_must_differ_are_not_launched_together(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        outcomes = await launched_all(
            on.cloud,
            [
                request("c-a-1-a", offers),
                request("c-b-1-a", offers, volume_gb=50),
                request("c-c-1-a", offers, annotations={"chinampa.dev/tenancy": "dedicated"}),
            ],
        )
        assert all(one.instance is not None for one in outcomes)
        assert on.front.count("CreateFleet") == 3


async def test_an_annotation_that_cannot_be_read_is_refused_by_name_and_nothing_is_launched(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        requirement = {"chinampa.dev/tenancy": "shared"}
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud), annotations=requirement))
        assert kind_of(launched) is Kind.INVALID
        assert "chinampa.dev/tenancy" in str(launched.fault)
        assert not on.front.count("CreateFleet")


async def test_where_the_cheapest_have_no_capacity_the_next_are_taken_and_all_refusals_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        none = types(on, offers, 3)
        for type_ in none:
            on.front.rules.limit(type_)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(5)])

        assert all(one.instance and one.instance.type not in none for one in outcomes)
        assert {each.type for each in outcomes[0].unfulfilled} == set(none)
        assert {each.code for each in outcomes[0].unfulfilled} == {"InsufficientInstanceCapacity"}


async def test_where_there_is_too_little_of_one_type_the_rest_comes_of_others(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.limit(offers[0].shape.type, left=3)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(8)])
        got = [one.instance.type for one in outcomes if one.instance]
        assert (len(got), got.count(offers[0].shape.type)) == (8, 3)


async def test_at_an_accounts_limit_the_fault_names_it_and_nothing_runs(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.limit(code="InstanceLimitExceeded")
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is None
        assert kind_of(launched) is Kind.NO_CAPACITY
        assert "InstanceLimitExceeded" in str(launched.fault)
        assert not await on.alive()


async def test_spot_falls_back_to_on_demand_in_the_same_pass_where_both_are_asked_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        both = (*await cheapest(on.cloud, LaunchType.SPOT, 5), *await cheapest(on.cloud, most=5))
        on.front.rules.limit(market="spot", code="MaxSpotInstanceCountExceeded")
        launched = await on.cloud.launch(request("c-1-1-a", both))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.ON_DEMAND
        assert {each.launch_type for each in launched.unfulfilled} == {"spot"}


async def test_spot_instances_are_told_as_spot(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud, LaunchType.SPOT, 5)))
        assert launched.instance is not None, launched.fault
        assert launched.instance.launch_type is LaunchType.SPOT


async def test_throttling_is_waited_out_once_for_the_whole_batch(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.fail("CreateFleet", "RequestLimitExceeded", 3)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(20)])
        assert all(one.instance is not None for one in outcomes)
        assert on.front.count("CreateFleet") == 4
        assert len(await on.alive()) == 20


async def test_where_fleets_are_denied_instances_are_run_and_without_that_right_the_fault_names_it(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.fail("CreateFleet", "UnauthorizedOperation")
        on.front.rules.limit(offers[0].shape.type)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(4)])
        assert all(one.instance is not None for one in outcomes), outcomes[0].fault
        assert all(one.instance and one.instance.pod_address for one in outcomes)
        assert outcomes[0].unfulfilled[0].type == offers[0].shape.type
        assert on.front.count("CreateFleet") == 1
        assert len(await on.alive()) == 4

        on.front.rules.fail("RunInstances", "UnauthorizedOperation")
        denied = await on.cloud.launch(request("c-9-1-a", offers))
        assert kind_of(denied) is Kind.DENIED
        assert "ec2:RunInstances" in str(denied.fault)


async def test_a_lost_answer_is_asked_for_again_and_launches_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.lose("CreateFleet")
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(6)])
        assert len({one.instance.id for one in outcomes if one.instance}) == 6
        assert len(await on.alive()) == 6


async def test_a_repeated_call_whose_answer_names_no_instances_launches_nothing_more(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        both = (*await cheapest(on.cloud, LaunchType.SPOT, 5), *await cheapest(on.cloud, most=5))
        on.front.rules.lose("CreateFleet")
        on.front.rules.silence_repeats("CreateFleet")
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", both) for number in range(3)])
        assert len({one.instance.id for one in outcomes if one.instance}) == 3, [one.fault for one in outcomes]
        assert len(await on.alive()) == 3


async def test_a_token_whose_instance_has_ended_is_not_asked_with_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.fail("CreateFleet", "IdempotentInstanceTerminated", 1)
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is not None, launched.fault
        tokens = [call.parameters["ClientToken"] for call in on.front.calls if call.action == "CreateFleet"]
        assert len(set(tokens)) == len(tokens) == 2


async def test_a_launch_that_hung_is_repeated_as_it_was_however_the_cells_ask_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.lose("CreateFleet", 100)
        requests = [request(f"c-{number}-1-a", offers) for number in range(6)]
        with on.impatient("CreateFleet"):
            first = await launched_all(on.cloud, requests)
        assert {kind_of(one) for one in first} == {Kind.UNAVAILABLE}
        assert len(await on.alive()) == 6

        on.front.rules.heal()
        alone = await launched_all(on.cloud, requests[:1])
        others = await launched_all(on.cloud, requests[1:])
        assert len({one.instance.id for one in (*alone, *others) if one.instance}) == 6
        assert len(await on.alive()) == 6


@pytest.mark.parametrize("lists", [3, 12])
async def test_an_instance_that_lists_show_late_is_waited_for_and_launched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    async with stage(tmp_path) as on:
        monkeypatch.setattr(instance_list, "_PAUSES", (0.0,) + (0.05,) * 7)
        call, empty = on.cloud.calls.call, iter(range(lists))

        async def late(service: str, action: str, /, **parameters: Any) -> dict[str, Any]:
            answer = await call(service, action, **parameters)
            late_still = action == "DescribeInstances" and next(empty, None) is not None
            return {"Reservations": []} if late_still else answer

        monkeypatch.setattr(on.cloud.calls, "call", late)
        asked = request("c-1-1-a", await cheapest(on.cloud))
        launched = await on.cloud.launch(asked)
        while launched.instance is None:
            assert kind_of(launched) is Kind.UNAVAILABLE, "the cell keeps its token and asks again"
            launched = await on.cloud.launch(asked)
        assert launched.instance.address
        assert on.front.count("CreateFleet") == len(await on.alive()) == 1


async def test_a_launch_that_is_repeated_in_vain_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.lose("CreateFleet", 100)
        with on.impatient("CreateFleet"):
            await on.cloud.launch(request("c-1-1-a", offers))
        on.front.rules.heal()
        stuck = next(call for call in on.front.calls if call.action == "CreateFleet").parameters["ClientToken"]
        asked, call = asyncio.Event(), on.cloud.calls.call

        async def without_answer_for_one(service: str, action: str, /, **parameters: Any) -> dict[str, Any]:
            if parameters.get("ClientToken") == stuck:
                asked.set()
                await asyncio.Event().wait()
            return await call(service, action, **parameters)

        monkeypatch.setattr(on.cloud.calls, "call", without_answer_for_one)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(on.cloud.launch(request("c-1-1-a", offers)))
            await asked.wait()
            async with asyncio.timeout(60):
                other = await on.cloud.launch(request("c-2-1-a", offers))
            assert other.instance is not None, other.fault
            assert not first.done()
            first.cancel()


async def test_a_later_life_finds_what_an_earlier_one_launched_and_never_heard_of(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        requests = [request(f"c-{number}-1-a", offers) for number in range(6)]
        on.front.rules.lose("CreateFleet", 100)
        with on.impatient("CreateFleet"):
            await launched_all(on.cloud, requests)
        on.front.rules.heal()

        async with on.reopen() as later:
            listed = {one.client_token: one.id for one in await later.instances()}
            # Regrouped: fewer cells ask, with other offers, and one that is new.
            asked = [request(one.client_token, offers[1:]) for one in requests[2:]]
            outcomes = await launched_all(later, [*asked, request("c-new-1-b", offers[1:])])

        assert set(listed) == {one.client_token for one in requests}
        assert all(one.instance and one.instance.id == listed[one.client_token] for one in outcomes[:-1])
        assert len(await on.alive()) == 7


async def test_a_caller_that_gives_up_takes_nothing_with_it_and_finds_the_instance_later(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        async with asyncio.TaskGroup() as tasks:
            with on.front.watch() as heard:
                hasty = tasks.create_task(on.cloud.launch(request("c-1-1-a", offers)))
                patient = tasks.create_task(on.cloud.launch(request("c-2-1-a", offers)))
                while (await heard.get()).action != "CreateFleet":
                    pass
                hasty.cancel()
        assert patient.result().instance is not None
        again = await on.cloud.launch(request("c-1-1-a", offers))
        assert again.instance is not None
        assert len(await on.alive()) == 2


async def test_each_instance_of_a_batch_gets_the_tags_of_its_own_pod_afterwards(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(3)])
        by_id = {one.instance.id: one.client_token for one in outcomes if one.instance}
        with on.front.watch() as heard:
            for _ in range(3):
                while (await heard.get()).action != "CreateTags":
                    pass
        for instance in await on.alive():
            tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
            assert tags[TAG_TOKEN] == by_id[instance["InstanceId"]]
            assert tags["chinampa.dev/cell"] == tags[TAG_TOKEN].rpartition("-")[0]
            assert tags[TAG_BATCH]


async def test_a_silent_endpoint_ends_in_a_fault_that_says_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        on.front.rules.hang("CreateFleet")
        with on.impatient("CreateFleet"):
            launched = await on.cloud.launch(request("c-1-1-a", offers))
        assert kind_of(launched) is Kind.UNAVAILABLE
        assert "CreateFleet: no answer" in str(launched.fault)
        on.front.rules.heal()
        again = await on.cloud.launch(request("c-1-1-a", offers))
        assert again.instance is not None
        assert len(await on.alive()) == 1
