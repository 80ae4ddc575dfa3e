"""chinampa doctor --cloud: what an AWS account has and lacks for cells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cellwire.faults import Fault, Kind
from controller.choice.quantity import millis
from controller.clouds.ec2 import calls as door
from controller.clouds.ec2.doctor import examination
from controller.clouds.ec2.doctor.examination import DesiredSetup
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.config import CloudKind, Settings
from controller.link.link_settings import dialled, written
from controller.model.finding import Finding


def examine(settings: Settings, told: Callable[[Finding], None]) -> None:
    """Tell each finding as it comes. Raises Fault where the settings are not of EC2."""
    if settings.cloud.kind is not CloudKind.EC2:
        cause = f"cloud.kind is {settings.cloud.kind.value!r}"
        raise Fault(
            Kind.UNSUPPORTED, "doctor --cloud", cause, "name the config file of a controller on EC2 with --config"
        )
    asyncio.run(_examine(settings, told))


async def _examine(settings: Settings, told: Callable[[Finding], None]) -> None:
    ec2 = Ec2Settings.of(settings.cloud.ec2, settings.cluster)
    homes = [written(*dialled(each, settings.link.port)) for each in settings.link.addresses]
    if not homes and settings.link.host not in {"0.0.0.0", "::"}:  # noqa: S104 # compared, not bound
        homes = [f"{settings.link.host}:{settings.link.port}"]
    async with door.running(ec2) as calls:
        async for finding in examination.findings(ec2, calls, homes, _wanted(settings)):
            told(finding)


def _wanted(settings: Settings) -> DesiredSetup:
    kept = [(max(each.count, each.most) * millis(each.cpu) / 1000, each.gpus) for each in settings.standby]
    return DesiredSetup(
        cpus=sum(cpus for cpus, gpus in kept if not gpus), gpu_cpus=sum(cpus for cpus, gpus in kept if gpus)
    )
