"""What moto says is running really runs: with its id, addresses, user-data and a signed document; and ends with it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controller.clouds.ec2 import calls
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import Leftovers, leftovers
from tests.support.ec2_front import ACCOUNT, Ec2Front, running_front
from tests.support.ec2_instances import Account, Instances, booting, furnished

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="instances need root")

ASK = b"""#!/bin/sh
base=http://169.254.169.254/latest
token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $base/api/token)
get() { curl -s -H "X-aws-ec2-metadata-token: $token" $base/$1; echo ==; }
get dynamic/instance-identity/document
get dynamic/instance-identity/signature
get meta-data/network/interfaces/macs/$(get meta-data/mac | head -c 17)/local-ipv4s
echo done
exec sleep 1000
"""


@asynccontextmanager
async def account(folder: Path, real: int) -> AsyncGenerator[tuple[Ec2Front, Any, Account, Instances]]:
    number = os.getpid() % 250
    settings = LocalSettings(
        cluster=f"front-{os.getpid()}",
        root=folder / "cloud",
        bridge=f"fr{os.getpid()}",
        subnet=f"10.231.{number}.0/24",
        account=ACCOUNT,
        region="us-east-1",
    )
    session: Any = calls.sdk_session()
    session.set_credentials("test", "test")
    session.set_config_variable("region", "us-east-1")
    async with running_front() as front, session.create_client("ec2", endpoint_url=front.url) as ec2:
        made = await furnished(front, settings.subnet)
        async with booting(front, msgspec.structs.replace(settings, image=made.image), real) as instances:
            yield front, ec2, made, instances
    assert await leftovers(settings) == Leftovers()


async def launch(ec2: Any, made: Account, data: bytes, count: int = 1) -> list[str]:
    answer = await ec2.run_instances(
        ImageId=made.image,
        InstanceType="t3.nano",
        MinCount=count,
        MaxCount=count,
        UserData=data,
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": made.subnets["us-east-1b"], "SecondaryPrivateIpAddressCount": 1}
        ],
    )
    return [one["InstanceId"] for one in answer["Instances"]]


async def described(ec2: Any, instance: str) -> Any:
    found = await ec2.describe_instances(InstanceIds=[instance])
    return found["Reservations"][0]["Instances"][0]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_an_instance_of_motos_runs_its_user_data_and_can_prove_who_it_is(tmp_path: Path) -> None:
    async with account(tmp_path, 1) as (_front, ec2, made, instances):
        (instance,) = await launch(ec2, made, gzip.compress(ASK))
        console = instances.settings.root / "instances" / instance / "console.log"
        await until(lambda: console.exists() and "done\n" in console.read_text())
        told = await described(ec2, instance)
        document, signature, both = console.read_bytes().split(b"==\n")[:3]
        said = msgspec.json.decode(document)
        assert (said["instanceId"], said["privateIp"]) == (instance, told["PrivateIpAddress"])
        assert (said["accountId"], said["region"], said["imageId"]) == (ACCOUNT, "us-east-1", made.image)
        addresses = [one["PrivateIpAddress"] for one in told["NetworkInterfaces"][0]["PrivateIpAddresses"]]
        assert both.decode().split() == addresses
        key = x509.load_pem_x509_certificate(instances.certificate.read_bytes()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(base64.b64decode(signature), document, padding.PKCS1v15(), hashes.SHA256())


async def test_an_instance_ends_when_it_is_terminated_and_moto_hears_of_one_that_ends_itself(tmp_path: Path) -> None:
    async with account(tmp_path, 2) as (_front, ec2, made, instances):
        stays, ends = await launch(ec2, made, b"#!/bin/sh\nexec sleep 1000\n", 2)
        await until(lambda: instances.booted["real"] == 2)
        await ec2.terminate_instances(InstanceIds=[ends])
        await until(lambda: instances.alive == 1)
        os.kill(instances.pid(stays), 9)
        await until(lambda: instances.alive == 0)
        told = await described(ec2, stays)
        assert (told["State"]["Name"], told["StateReason"]["Code"]) == (
            "terminated",
            "Client.InstanceInitiatedShutdown",
        )


async def test_beyond_the_bound_instances_are_doubles(tmp_path: Path) -> None:
    async with account(tmp_path, 1) as (_front, ec2, made, instances):
        await launch(ec2, made, b"#!/bin/sh\nexec sleep 1000\n", 3)
        await until(lambda: sum(instances.booted.values()) == 3)
        assert dict(instances.booted) == {"real": 1, "double": 2}
