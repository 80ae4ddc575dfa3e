"""A look at an account before pods come: each thing that would keep them away is named, with its cause and its mend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.doctor import examination, network_findings
from controller.clouds.ec2.doctor.network_findings import Network
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.notices import notice_queue
from controller.model.finding import Finding, Verdict
from tests.component.ec2.test_launch import cheapest, request
from tests.support.commands import chinampa, config_file
from tests.support.ec2_cloud import CloudStage, stage

ROUND_TRIP = {"source": ["chinampa.doctor"]}


async def with_queue(on: CloudStage, pattern: dict[str, Any] = ROUND_TRIP) -> Ec2Settings:
    """Settings with a queue, which a rule of this pattern fills."""
    call = on.cloud.calls.call
    url = str((await call("sqs", "CreateQueue", QueueName="chinampa-test"))["QueueUrl"])
    arn = f"arn:aws:sqs:{on.settings.region}:{on.settings.account}:chinampa-test"
    await call("events", "PutRule", Name="chinampa-test-doctor", EventPattern=json.dumps(pattern))
    await call("events", "PutTargets", Rule="chinampa-test-doctor", Targets=[{"Id": "queue", "Arn": arn}])
    return msgspec.structs.replace(on.settings, queue_url=url)


async def with_nat(on: CloudStage) -> None:
    """The VPC's main table leads out by a NAT gateway."""
    address = await on.front.ask("AllocateAddress", Domain="vpc")
    made = await on.front.ask("CreateNatGateway", SubnetId=on.settings.subnets[0], AllocationId=address["AllocationId"])
    here = [{"Name": "vpc-id", "Values": [on.cloud.environment.vpc]}]
    (table,) = (await on.front.ask("DescribeRouteTables", Filters=here))["RouteTables"]
    nat = made["NatGateway"]["NatGatewayId"]
    route = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": nat}
    await on.front.ask("CreateRoute", **route)


async def at_home(on: CloudStage, port: int = 7443) -> str:
    """The address of a machine in the VPC whose group admits cells on a port."""
    made = await on.front.ask(
        "CreateSecurityGroup", GroupName="home", Description="home", VpcId=on.cloud.environment.vpc
    )
    pairs = [{"GroupId": on.cloud.environment.security_group}]
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": pairs}
    await on.front.ask("AuthorizeSecurityGroupIngress", GroupId=made["GroupId"], IpPermissions=[rule])
    card = await on.front.ask("CreateNetworkInterface", SubnetId=on.settings.subnets[0], Groups=[made["GroupId"]])
    return str(card["NetworkInterface"]["PrivateIpAddress"])


async def test_a_good_account_lacks_nothing_and_an_event_is_seen_to_come(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        settings = await with_queue(on)
        await with_nat(on)
        home = await at_home(on)
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is not None, launched.fault
        before = len(await on.alive())
        config = config_file(tmp_path, settings, f'[link]\naddresses = ["{home}:7443"]')
        done = await chinampa("doctor", "--cloud", "--config", config)
        assert done.code == 0, done.out + done.err
        assert "lacks" not in done.out
        for thing in ("credentials", "ec2:RunInstances", "ec2:CreateFleet", "ec2:TerminateInstances"):
            assert f"ok     {thing} " in done.out.replace("\n", " \n"), done.out
        assert "out by nat-" in done.out
        assert f"address {home}:7443" in done.out
        assert "5 are allowed, as a new account has" in done.out
        assert "0 are allowed: no such pod will run" in done.out
        assert "an event came; rules: chinampa-test-doctor" in done.out
        assert len(await on.alive()) == before, "dry runs change nothing"


async def test_what_is_missing_is_named_with_its_mend(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.fail("CreateFleet", "UnauthorizedOperation")
        home = await at_home(on, port=22)
        config = config_file(
            tmp_path,
            msgspec.structs.replace(on.settings, image_arm64=on.settings.image_amd64),
            f'[link]\naddresses = ["{home}:7443"]\n[[standby]]\ncount = 10\ncpu = "2"\nmemory = "1Gi"',
        )
        done = await chinampa("doctor", "--cloud", "--config", config)
        assert done.code == 1
        lacking = [line for line in done.out.splitlines() if line.startswith("lacks")]
        told = "\n".join(lacking)
        assert "allow ec2:CreateFleet for the controller's role" in told
        assert f"let {on.cloud.environment.security_group} in: TCP 7443" in told
        assert "it is for x86_64; name one for arm64" in told
        assert "5 are allowed, warm cells alone take 20; ask AWS for more" in told
        assert "note   queue of notices" in done.out, "a queue is no duty"


async def test_without_credentials_that_alone_is_said(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.front.rules.fail("GetCallerIdentity", "InvalidClientTokenId")
        done = await chinampa("doctor", "--cloud", "--config", config_file(tmp_path, on.settings))
        assert done.code == 1
        (line,) = done.out.splitlines()
        assert line.startswith("lacks  credentials")
        assert line.endswith("check the credentials")


async def test_an_event_that_does_not_come_is_a_fault_of_the_queues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_TRIES", 1)
    monkeypatch.setattr(examination, "_WAIT_SECONDS", 1)
    async with stage(tmp_path) as on:
        settings = await with_queue(on, {"source": ["aws.ec2"]})
        found = await examination.queue_finding(settings, on.cloud.calls)
        assert found.verdict is Verdict.LACKS
        assert "aws:SourceArn" in found.mend


async def test_beside_a_controller_that_reads_the_queue_an_event_is_seen_all_the_same(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        settings = await with_queue(on)
        call = on.cloud.calls.call
        await call("events", "PutEvents", Entries=[{"Source": "chinampa.doctor", "DetailType": "x", "Detail": "{}"}])
        assert (await examination.queue_finding(settings, on.cloud.calls)).verdict is Verdict.OK, (
            "another's event is left alone"
        )


async def test_beside_a_controller_that_is_always_first_at_the_queue_an_event_is_seen_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_WAIT_SECONDS", 1)
    monkeypatch.setattr(notice_queue, "YIELD_SECONDS", 3.0)
    async with stage(tmp_path) as on:
        settings = await with_queue(on)
        reader = notice_queue.Queue(settings.queue_url, AtTheQueue(on.cloud.calls, 0.01))

        async def reads() -> None:
            while True:
                for handle, _ in await reader.poll():
                    reader.done(handle)
                await reader.clear()

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(reads())
            assert (await examination.queue_finding(settings, AtTheQueue(on.cloud.calls, 0.5))).verdict is Verdict.OK
            reading.cancel()


class AtTheQueue:
    """A door by which a queue is asked so many seconds late: whoever comes sooner takes what is there."""

    def __init__(self, door: Calls, late: float) -> None:
        self._door = door
        self._late = late

    async def call(self, service: str, action: str, /, *, resources: int = 1, **params: Any) -> dict[str, Any]:
        if action == "ReceiveMessage":
            params["WaitTimeSeconds"] = 0
            await asyncio.sleep(self._late)
        return await self._door.call(service, action, resources=resources, **params)

    def pages(self, service: str, action: str, key: str, /, **params: Any) -> AsyncIterator[dict[str, Any]]:
        return self._door.pages(service, action, key, **params)


def test_a_subnet_says_why_cells_would_get_nowhere() -> None:
    plain = {"SubnetId": "subnet-1", "AvailabilityZone": "a", "AvailableIpAddressCount": 200}
    assert network_findings.subnet(plain, "nat-1", public=False).verdict is Verdict.OK
    assert "internet gateway" in network_findings.subnet(plain, "igw-1", public=False).cause
    assert network_findings.subnet(plain, "igw-1", public=True).verdict is Verdict.OK
    assert network_findings.subnet(plain, "", public=False).verdict is Verdict.NOTE
    assert network_findings.subnet(plain | {"Ipv6Native": True}, "nat-1", public=False).verdict is Verdict.LACKS
    assert (
        network_findings.subnet(plain | {"AvailableIpAddressCount": 11}, "nat-1", public=False).verdict is Verdict.NOTE
    )


def test_an_address_is_reached_by_group_or_by_network_on_its_port_only() -> None:
    seen = Network(blocks=("10.0.1.0/24", "10.0.2.0/24"), groups={"sg-own": {}}, own="sg-own")

    def verdict(**rule: Any) -> Verdict:
        group = {
            "GroupId": "sg-home",
            "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 7443, "ToPort": 7443} | rule],
        }
        return network_findings.admitted("10.0.0.1:7443", 7443, [group], seen).verdict

    assert verdict(UserIdGroupPairs=[{"GroupId": "sg-own"}]) is Verdict.OK
    assert verdict(UserIdGroupPairs=[{"GroupId": "sg-else"}]) is Verdict.LACKS
    assert verdict(IpRanges=[{"CidrIp": "10.0.0.0/16"}]) is Verdict.OK
    assert verdict(IpRanges=[{"CidrIp": "10.0.1.0/24"}]) is Verdict.LACKS, "one zone's cells could not join"
    assert verdict(IpRanges=[{"CidrIp": "0.0.0.0/0"}], FromPort=443, ToPort=443) is Verdict.LACKS
    assert verdict(IpProtocol="-1", IpRanges=[{"CidrIp": "0.0.0.0/0"}]) is Verdict.OK


def test_two_groups_of_the_load_balancers_are_told() -> None:
    tagged = {"Tags": [{"Key": "kubernetes.io/cluster/prod", "Value": "owned"}]}
    settings = Ec2Settings(region="r", kubernetes_cluster="prod", cluster_security_group="sg-b")
    found = list(network_findings.reachable(settings, {"sg-a": tagged, "sg-b": tagged}))
    assert Finding(Verdict.LACKS, "load balancers", found[1].cause, found[1].mend) == found[1]
    assert "sg-a, sg-b all bear" in found[1].cause


async def test_certificates_say_how_long_they_hold(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        now = datetime.now(UTC)
        for later, verdict in ((timedelta(), Verdict.NOTE), (timedelta(days=3), Verdict.LACKS)):
            (found,) = examination.certificates(on.settings, now + later)
            assert found.verdict is verdict
        none = msgspec.structs.replace(on.settings, certificates=tmp_path / "nowhere")
        (found,) = examination.certificates(none, now)
        assert "no RSA certificate" in found.cause
