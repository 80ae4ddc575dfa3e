"""The EC2 cloud on the tests' EC2: a VPC with two subnets, and a certificate that signs identity documents."""

from __future__ import annotations

import base64
import copy
import datetime
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from controller.clouds.ec2.ec2_cloud import Ec2Cloud, running
from controller.clouds.ec2.ec2_settings import Ec2Settings
from tests.support import rsa_keys
from tests.support.ec2_front import ACCOUNT, REGION, Ec2Front, running_front

IMAGE = "ami-03cf127a"
ZONES = ("us-east-1a", "us-east-1b")


class DocumentSigner:
    """Signs identity documents as AWS does, with a certificate in `folder`."""

    def __init__(self, folder: Path, bits: int = 2048, key: rsa.RSAPrivateKey | None = None) -> None:
        self.folder = folder
        self._key = key or rsa.generate_private_key(public_exponent=65537, key_size=bits)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test cloud")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "region.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, document: bytes) -> bytes:
        return base64.encodebytes(self._key.sign(document, padding.PKCS1v15(), hashes.SHA256()))


@contextmanager
def credentials() -> Generator[None]:
    """The environment in which an SDK finds the tests' credentials, and nothing of this machine's."""
    wanted = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def settings_on(front: Ec2Front, folder: Path, **more: Any) -> Ec2Settings:
    """Settings of a cloud in a new VPC of the tests' EC2."""
    vpc = (await front.ask("CreateVpc", CidrBlock="10.240.0.0/16"))["Vpc"]["VpcId"]
    subnets = [
        (await front.ask("CreateSubnet", VpcId=vpc, CidrBlock=f"10.240.{number * 64}.0/18", AvailabilityZone=zone))
        for number, zone in enumerate(ZONES)
    ]
    plain = Ec2Settings(
        cluster="test",
        region=REGION,
        endpoint_url=front.url,
        account=ACCOUNT,
        subnets=tuple(str(each["Subnet"]["SubnetId"]) for each in subnets),
        image_amd64=IMAGE,
        certificates=folder / "certificates",
    )
    return msgspec.structs.replace(plain, **more)


@dataclass
class CloudStage:
    """A cloud on an EC2 of its own. `reopen` is a later life of the same cloud."""

    front: Ec2Front
    settings: Ec2Settings
    signer: DocumentSigner
    cloud: Ec2Cloud

    @asynccontextmanager
    async def reopen(self, **more: Any) -> AsyncGenerator[Ec2Cloud]:
        async with running(msgspec.structs.replace(self.settings, **more)) as cloud:
            yield cloud

    @contextmanager
    def impatient(self, action: str) -> Generator[None]:
        """Give up a try of this action that EC2 leaves unanswered after 4 s, a call after twice that."""
        calls = self.cloud.calls
        hasty = copy.copy(calls)
        hasty._settings = msgspec.structs.replace(calls._settings, call_seconds=4.0, patience_seconds=8.0)

        patient = calls.call

        async def call(service: str, asked: str, /, **parameters: Any) -> dict[str, Any]:
            return await (hasty.call if asked == action else patient)(service, asked, **parameters)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(calls, "call", call)
            yield

    async def alive(self) -> list[dict[str, Any]]:
        """The instances that EC2 has, whoever asked for them."""
        found = await self.front.ask("DescribeInstances")
        every = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
        return [one for one in every if one["State"]["Name"] in {"pending", "running"}]


@asynccontextmanager
async def stage(folder: Path, **more: Any) -> AsyncGenerator[CloudStage]:
    """An EC2 and a cloud on it, both gone afterwards."""
    with credentials():
        async with running_front() as front:
            signer = DocumentSigner(folder / "certificates", key=rsa_keys.key_of_this_process())
            settings = await settings_on(front, folder, **more)
            async with running(settings) as cloud:
                yield CloudStage(front, settings, signer, cloud)
