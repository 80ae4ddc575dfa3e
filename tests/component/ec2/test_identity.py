"""Who may join on EC2: the instance that was launched for a cell, by AWS's word, once."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.userdata import parse
from controller.model.cell import Cell, CellState
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from tests.support.ec2_cloud import DocumentSigner
from tests.support.ec2_front import ACCOUNT, REGION
from tests.support.ec2_launches import backend
from tests.support.ec2_world import ControllerLife, world
from tests.support.waiting import until

CLAIM = PodClaim(
    pod=PodRef(uid=PodUid("uid-1"), namespace="default", name="web"), demand=Demand(cpu_millis=100, memory_mib=128)
)


def said_by_aws(cell: Cell, **other: Any) -> bytes:
    """The identity document of a cell's instance, but for what is other."""
    assert cell.instance is not None
    told = backend().get_instance(cell.instance)
    document = {
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": told.availability_zone,
        "imageId": "ami-0",
        "instanceId": cell.instance,
        "instanceType": told.instance_type,
        "pendingTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "privateIp": told.private_ip,
        "region": REGION,
        "version": "2017-09-30",
    }
    return json.dumps({**document, **other}).encode()


async def launched(here: ControllerLife, claim: PodClaim = CLAIM) -> Cell:
    """A cell of a pod whose instance runs and has not joined."""
    await until(lambda: any(one.claim == claim and one.instance for one in here.fleet.list()))
    return next(one for one in here.fleet.list() if one.claim == claim)


def token_in(cell: Cell) -> str:
    assert cell.instance is not None
    data = base64.b64decode(str(backend().get_instance(cell.instance).user_data))
    return parse((gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()).token


async def joined(here: ControllerLife, token: str, document: bytes, signature: bytes, key: str = "own") -> Cell:
    """As the link admits a caller that shows these."""
    admitted = await here.fleet.admit(token, key, here.cloud.verify(document, signature))
    cell = here.fleet.get(admitted.cell)
    assert cell is not None
    return cell


async def test_only_the_instance_of_a_launch_joins_with_awss_word_for_it_and_once(tmp_path: Path) -> None:
    async with world(tmp_path, boot=600.0) as w, w.controller() as here, here.asking(CLAIM):
        cell = await launched(here)
        token, signer = token_in(cell), w.signer()
        ours = said_by_aws(cell)
        forger = DocumentSigner(tmp_path / "forger")
        past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        denied = {
            "another account": (token, said_by_aws(cell, accountId="999999999999")),
            "another region": (token, said_by_aws(cell, region="us-east-2")),
            "another instance": (token, said_by_aws(cell, instanceId="i-0badbadbadbadbad0")),
            "another address": (token, said_by_aws(cell, privateIp="10.9.9.9")),
            "of an earlier life": (token, said_by_aws(cell, pendingTime=past)),
            "another token": ("0" * 64, ours),
        }
        for what, (shown, document) in denied.items():
            with pytest.raises(Fault) as told:
                await joined(here, shown, document, signer(document))
            assert told.value.kind is Kind.DENIED, what
        for what, document, signature in (
            ("forged", ours, forger.sign(ours)),
            ("changed", ours.replace(b"x86_64", b"arm64"), signer(ours)),
            ("unsigned", ours, b""),
        ):
            with pytest.raises(Fault, match="identity document") as told:
                await joined(here, token, document, signature)
            assert told.value.kind is Kind.DENIED, what
        assert here.state(cell) is CellState.BOOTING

        assert (await joined(here, token, ours, signer(ours))).state is CellState.READY
        with pytest.raises(Fault, match="joins once"):
            await joined(here, token, ours, signer(ours), "another")


async def test_an_instance_of_the_account_that_no_cell_was_launched_on_is_told_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, boot=600.0) as w, w.controller() as here, here.asking(CLAIM):
        cell = await launched(here)
        stranger = await w.front.ask(
            "RunInstances", ImageId=w.account.image, MinCount=1, MaxCount=1, SubnetId=w.settings.subnets[0]
        )
        name = stranger["Instances"][0]["InstanceId"]
        document = said_by_aws(cell, instanceId=name)
        with pytest.raises(Fault, match="no cell was launched on it"):
            await joined(here, token_in(cell), document, w.signer()(document))
