"""Who reaches pods: the cluster's group on every cell, and the one group by which load balancers find an interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.faults import Fault
from tests.component.ec2.test_launch import cheapest, request
from tests.support.ec2_cloud import CloudStage, stage

KEY = "kubernetes.io/cluster/prod"


async def group(on: CloudStage, name: str, *, marked: bool = True) -> str:
    """A security group, as a Kubernetes cluster has one."""
    made = await on.front.ask("CreateSecurityGroup", GroupName=name, Description=name, VpcId=on.cloud.environment.vpc)
    if marked:
        await on.front.ask("CreateTags", Resources=[made["GroupId"]], Tags=[{"Key": KEY, "Value": "owned"}])
    return str(made["GroupId"])


async def marked(on: CloudStage) -> list[str]:
    """The groups that bear the cluster's tag."""
    found = await on.front.ask("DescribeSecurityGroups", Filters=[{"Name": "tag-key", "Values": [KEY]}])
    return [each["GroupId"] for each in found.get("SecurityGroups", ())]


async def test_every_cell_is_in_the_clusters_group(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        theirs = await group(on, "eks")
        async with on.reopen(cluster_security_group=theirs, kubernetes_cluster="prod") as cloud:
            launched = await cloud.launch(request("c-1-1-a", await cheapest(cloud)))
            assert launched.instance is not None, launched.fault
            (known,) = await on.alive()
            assert {each["GroupId"] for each in known["NetworkInterfaces"][0]["Groups"]} == {
                cloud.environment.security_group,
                theirs,
            }
        assert await marked(on) == [theirs]


async def test_where_no_group_is_the_load_balancers_ours_becomes_it_until_another_is(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        async with on.reopen(kubernetes_cluster="prod") as cloud:
            assert await marked(on) == [cloud.environment.security_group]
        theirs = await group(on, "eks")
        async with on.reopen(kubernetes_cluster="prod", cluster_security_group=theirs):
            assert await marked(on) == [theirs]


async def test_two_groups_of_the_load_balancers_are_refused_by_name(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        one, other = await group(on, "one"), await group(on, "other")
        with pytest.raises(Fault, match=f"{min(one, other)}, {max(one, other)} all bear the tag {KEY}"):
            async with on.reopen(kubernetes_cluster="prod", security_groups=(one, other)):
                pass
