"""RunInstances and CreateFleet on moto: templates expanded, capacity granted, what moto forgets put right."""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from moto.backends import get_backend

from tests.support import ec2_fleet
from tests.support.ec2_fleet import LaunchOverride, Share
from tests.support.ec2_rules import Ec2Error, InjectedRules

ACCOUNT = "123456789012"
REGION = "us-east-1"
RESERVED = 5  # the first four addresses of a subnet and the last
MOST = 1_000_000
_BURSTABLE = ("t2", "t3", "t3a", "t4g")
_NO_CREDITS = "The CPU credit option is not supported for this instance type."
_METADATA_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")
_METADATA_WORDS = "Tag keys must match pattern ([0-9a-zA-Z\\\\-_+=,.@:]{1,255}), and must not be a reserved name."
_NO_ADDRESSES = "InsufficientFreeAddressesInSubnet"


def backend() -> Any:
    """moto's EC2 of the account and region that the tests have."""
    return cast("Any", get_backend("ec2"))[ACCOUNT][REGION]


def _room(subnet: str, launch: dict[str, Any]) -> int:
    """How many such instances the free addresses of a subnet are enough for. moto runs out with an internal error.

    Addresses of ended instances are not used again.
    """
    if not subnet:
        return MOST
    where = backend().get_subnet(subnet)
    free = where.cidr.num_addresses - RESERVED - len(where._subnet_ips)
    wanted = (launch.get("NetworkInterfaces") or [{}])[0]
    return free // (1 + int(wanted.get("SecondaryPrivateIpAddressCount", 0)))


def unlaunchable(launch: dict[str, Any], tags: Sequence[dict[str, Any]], default: str) -> Ec2Error | None:
    """Why EC2 launches nothing so, whatever the capacity. `default` is the account's for tags in instance metadata:
    where metadata has them, their keys are parts of paths.
    """
    if not _creditable(str(launch.get("InstanceType", "")), launch):
        return Ec2Error("InvalidParameterCombination", _NO_CREDITS)
    if launch.get("MetadataOptions", {}).get("InstanceMetadataTags", default) == "enabled":
        keys = [tag["Key"] for one in tags if one["ResourceType"] == "instance" for tag in one["Tags"]]
        if bad := next((key for key in keys if not _METADATA_KEY.fullmatch(key)), ""):
            return Ec2Error("InvalidParameterValue", f"'{bad}' is not a valid tag key. {_METADATA_WORDS}")
    return None


def market_of(action: str, parameters: Mapping[str, Any]) -> str:
    """The market in which a call launches; "" for one that launches nothing."""
    if action == "CreateFleet":
        return str(parameters["TargetCapacitySpecification"]["DefaultTargetCapacityType"])
    if action == "RunInstances":
        return str(parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand"))
    return ""


def _creditable(type_: str, launch: dict[str, Any]) -> bool:
    """Whether a type takes the credits that a launch gives it: EC2 has them for the T family only."""
    return "CreditSpecification" not in launch or type_.partition(".")[0] in _BURSTABLE


def _finish(instance: Any, launch: dict[str, Any], wanted: dict[str, Any], tags: dict[str, str]) -> None:
    instance.placement.tenancy = launch.get("Placement", {}).get("Tenancy", "default")
    interface = instance.nics[0]
    interface.delete_on_termination = wanted.get("DeleteOnTermination", True)
    interface.add_tags(tags)
    for _ in range(int(wanted.get("SecondaryPrivateIpAddressCount", 0))):
        address = interface.subnet.get_available_subnet_ip(instance)
        interface.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": address})


class Launches:
    """`ask` is a call to moto past everything; `alone` is held by whoever is in moto."""

    def __init__(
        self, ask: Callable[..., Awaitable[dict[str, Any]]], rules: InjectedRules, alone: asyncio.Lock
    ) -> None:
        self._ask = ask
        self._alone = alone
        self._rules = rules
        self._zones: dict[str, str] = {}
        self._promised: Counter[str] = Counter()

    async def run(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The call that moto is to be asked for a RunInstances of these parameters. Raises Refused."""
        named = parameters.get("LaunchTemplate")
        data = await self._template(dict(named)) if named else {}
        launch = ec2_fleet.of_template(data, parameters)
        option = LaunchOverride({}, {}, launch)
        subnet = str(launch.get("SubnetId") or option.subnet)
        zone = await self._zone(subnet) or str(launch.get("Placement", {}).get("AvailabilityZone", f"{REGION}a"))
        market = str(launch.get("InstanceMarketOptions", {}).get("MarketType", "on-demand"))
        least, most = int(launch.get("MinCount", 1)), int(launch.get("MaxCount", 1))
        room = _room(subnet, launch)
        if room < least:
            raise Ec2Error(_NO_ADDRESSES)
        if refused := unlaunchable(launch, launch.get("TagSpecifications", ()), self._rules.metadata_tags):
            raise refused
        spot = launch.get("InstanceMarketOptions", {}).get("SpotOptions", {})
        if market == "spot" and self._too_dear(spot.get("MaxPrice")):
            raise Ec2Error("SpotMaxPriceTooLow")
        granted, code = self._rules.grant(str(launch.get("InstanceType", "")), zone, market, min(most, room), least)
        if granted < least:
            raise Ec2Error(code)
        return {**launch, "MinCount": granted, "MaxCount": granted}  # moto goes by the least

    async def fleet(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """CreateFleet's answer, and the instances that it launched. Raises Refused."""
        ec2_fleet.check(parameters)
        options = await self._options(parameters)
        for option in options:
            await self._zone(option.subnet)
        ec2_fleet.check_pools(options, self._zones)
        name = f"fleet-{secrets.token_hex(4)}-{secrets.token_hex(2)}-{secrets.token_hex(2)}-{secrets.token_hex(6)}"
        least = int(parameters.get("OnDemandOptions", {}).get("MinTargetCapacity", 0))
        shares: list[Share] = []
        errors: list[dict[str, Any]] = []
        for market, count in ec2_fleet.capacities(parameters):
            in_order = ec2_fleet.ordered(options, parameters, market)
            tags = parameters.get("TagSpecifications", ())
            found, refused = ec2_fleet.allot(in_order, market, count, functools.partial(self._grant, tags))
            enough = sum(share.count for share in found) >= (least if market == "on-demand" else 0)
            shares += found if enough else []
            errors += refused
        told: list[dict[str, Any]] = []
        for share in shares:
            launched = await self._launch(share, name, parameters)
            told.append(
                {
                    "LaunchTemplateAndOverrides": share.option.told(),
                    "Lifecycle": share.market,
                    "InstanceIds": launched,
                    "InstanceType": share.option.type,
                    "SubnetId": share.option.subnet,
                    "AvailabilityZone": self._zones.get(share.option.subnet, ""),
                }
            )
        instances = tuple(instance for one in told for instance in one["InstanceIds"])
        return {"FleetId": name, "Errors": errors, "Instances": told}, instances

    async def finish(self, launch: dict[str, Any], instances: Sequence[str]) -> None:
        """Give launched instances what the call asked for and moto passed over."""
        wanted = (launch.get("NetworkInterfaces") or [{}])[0]
        tags = {
            tag["Key"]: tag["Value"]
            for one in launch.get("TagSpecifications", ())
            if one["ResourceType"] == "network-interface"
            for tag in one["Tags"]
        }
        async with self._alone:
            for name in instances:
                _finish(backend().get_instance(name), launch, wanted, tags)

    async def _launch(self, share: Share, fleet: str, parameters: dict[str, Any]) -> list[str]:
        launch = ec2_fleet.launch_of(share, fleet, parameters)
        launched = [one["InstanceId"] for one in (await self._ask("RunInstances", **launch))["Instances"]]
        await self.finish(launch, launched)
        return launched

    def _too_dear(self, most: str | None) -> bool:
        return most is not None and float(most) < self._rules.spot_usd

    def _grant(
        self, tags: Sequence[dict[str, Any]], option: LaunchOverride, market: str, wanted: int
    ) -> tuple[int, Ec2Error]:
        launch = {**ec2_fleet.whole(option), "InstanceType": option.type}
        if refused := unlaunchable(launch, tags, self._rules.metadata_tags):
            return 0, refused
        if market == "spot" and self._too_dear(option.override.get("MaxPrice")):
            return 0, Ec2Error("SpotMaxPriceTooLow")
        zone = self._zones.get(option.subnet) or str(option.override.get("AvailabilityZone", f"{REGION}a"))
        room = max(0, _room(option.subnet, option.data) - self._promised[option.subnet])
        granted, code = self._rules.grant(option.type, zone, market, min(wanted, room))
        self._promised[option.subnet] += granted
        return granted, Ec2Error(code or _NO_ADDRESSES)

    async def _options(self, parameters: dict[str, Any]) -> list[LaunchOverride]:
        found: list[LaunchOverride] = []
        for config in parameters["LaunchTemplateConfigs"]:
            template = dict(config["LaunchTemplateSpecification"])
            data = await self._template(template)
            found += [LaunchOverride(template, override, data) for override in config.get("Overrides") or [{}]]
        return found

    async def _template(self, named: dict[str, Any]) -> dict[str, Any]:
        """The data of a launch template's version; `named` then has its id and its version's number, as answers do."""
        name, version = named.pop("LaunchTemplateName", None), str(named.get("Version", "$Default"))
        which = {"LaunchTemplateName": name} if name else {"LaunchTemplateId": named["LaunchTemplateId"]}
        found = await self._ask("DescribeLaunchTemplateVersions", **which, Versions=[version])
        if not found.get("LaunchTemplateVersions"):
            raise Ec2Error("InvalidLaunchTemplateId.VersionNotFound", f"There is no version {version} of {which}.")
        one = found["LaunchTemplateVersions"][0]
        named.update(LaunchTemplateId=one["LaunchTemplateId"], Version=str(one["VersionNumber"]))
        return dict(one["LaunchTemplateData"])

    async def _zone(self, subnet: str) -> str:
        if subnet and subnet not in self._zones:
            found = await self._ask("DescribeSubnets", SubnetIds=[subnet])
            self._zones[subnet] = str(found["Subnets"][0]["AvailabilityZone"])
        return self._zones.get(subnet, "")
