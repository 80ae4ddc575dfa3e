"""CreateFleet of type instant as EC2 fulfils it, which moto does not: it takes the first override for all instances
and loses the launch template's metadata options, volumes and interfaces. Pure: which override gets how many, and what
RunInstances call each share amounts to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.ec2_rules import Ec2Error

MOST_OVERRIDES = 300
# So many of its options a fleet tries in vain; of the others it says that they are unfulfillable, whatever they have.
MOST_TRIED = 3
UNTRIED = "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again."
_PRIORITIZED = ("prioritized", "capacity-optimized-prioritized")
_OVERRIDDEN = (
    *("InstanceType", "ImageId", "SubnetId", "Placement"),
    *("KeyName", "BlockDeviceMappings", "IamInstanceProfile"),
)
_USER_DATA = "LaunchTemplateSpecificationUserData"
_TAGGED = ("fleet", "instance", "volume", "network-interface")


@dataclass(frozen=True)
class LaunchOverride:
    """One override of one launch template: what can be bought."""

    template: dict[str, Any]
    override: dict[str, Any]
    data: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.override.get("InstanceType") or self.data.get("InstanceType", ""))

    @property
    def subnet(self) -> str:
        interfaces = self.data.get("NetworkInterfaces") or [{}]
        return str(self.override.get("SubnetId") or interfaces[0].get("SubnetId", ""))

    def told(self) -> dict[str, Any]:
        """As CreateFleet's answer names it."""
        template = {key: value for key, value in self.template.items() if key != _USER_DATA}
        return {"LaunchTemplateSpecification": template, "Overrides": self.override}


@dataclass(frozen=True)
class Share:
    """So many instances of one option."""

    option: LaunchOverride
    market: str
    count: int


def check(parameters: Mapping[str, Any]) -> None:
    """What EC2 refuses at once. Raises Refused."""
    if parameters.get("Type") != "instant":
        raise Ec2Error("InvalidParameterValue", "The tests' EC2 has fleets of type instant only.")
    overrides = sum(len(config.get("Overrides", ())) for config in parameters["LaunchTemplateConfigs"])
    if overrides > MOST_OVERRIDES:
        raise Ec2Error("InvalidParameterValue", f"A fleet may have {MOST_OVERRIDES} overrides, not {overrides}.")
    for tags in parameters.get("TagSpecifications", ()):
        if tags["ResourceType"] not in _TAGGED:
            raise Ec2Error("InvalidParameterValue", f"An instant fleet cannot tag {tags['ResourceType']}.")


def check_pools(options: list[LaunchOverride], zones: Mapping[str, str]) -> None:
    """EC2 launches a type in one subnet of a zone only. `zones` is subnet to zone. Raises Refused."""
    pools = [(option.type, zones.get(option.subnet, option.subnet)) for option in options]
    if len(pools) != len(set(pools)):
        raise Ec2Error("InvalidFleetConfig", "The fleet configuration contains duplicate instance pools.")


def capacities(parameters: Mapping[str, Any]) -> list[tuple[str, int]]:
    """How many instances of which market a fleet wants."""
    wanted = parameters["TargetCapacitySpecification"]
    spot = int(wanted.get("SpotTargetCapacity", 0))
    on_demand = int(wanted.get("OnDemandTargetCapacity", 0))
    rest = int(wanted["TotalTargetCapacity"]) - spot - on_demand
    if wanted.get("DefaultTargetCapacityType", "on-demand") == "spot":
        spot += rest
    else:
        on_demand += rest
    return [(market, count) for market, count in (("on-demand", on_demand), ("spot", spot)) if count > 0]


def ordered(options: list[LaunchOverride], parameters: Mapping[str, Any], market: str) -> list[LaunchOverride]:
    """In the order in which EC2 tries them: by priority where the strategy goes by it, else as they are given.

    Options without a priority come last. The strategies that go by price or capacity are EC2's secret; here the order
    of the request stands for both.
    """
    chosen = parameters.get("SpotOptions" if market == "spot" else "OnDemandOptions", {}).get("AllocationStrategy", "")
    if chosen not in _PRIORITIZED:
        return options
    return sorted(options, key=lambda option: float(option.override.get("Priority", float("inf"))))


def allot(
    options: list[LaunchOverride],
    market: str,
    wanted: int,
    grant: Callable[[LaunchOverride, str, int], tuple[int, Ec2Error]],
) -> tuple[list[Share], list[dict[str, Any]]]:
    """Shares of `wanted`, and an error of CreateFleet's answer for each option that had too few."""
    shares: list[Share] = []
    errors: list[dict[str, Any]] = []
    for option in options:
        if not wanted:
            break
        if len(errors) < MOST_TRIED:
            granted, refused = grant(option, market, wanted)
        else:
            granted, refused = 0, Ec2Error("UnfulfillableCapacity", UNTRIED)
        if granted:
            shares.append(Share(option, market, granted))
        if granted < wanted:
            errors.append(
                {
                    "LaunchTemplateAndOverrides": option.told(),
                    "Lifecycle": market,
                    "ErrorCode": refused.code,
                    "ErrorMessage": refused.message,
                }
            )
        wanted -= granted
    return shares, errors


def launch_of(share: Share, fleet: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The RunInstances parameters that a share amounts to."""
    made = whole(share.option)
    template = share.option.template
    own = {
        "aws:ec2:fleet-id": fleet,
        "aws:ec2launchtemplate:id": template.get("LaunchTemplateId", ""),
        "aws:ec2launchtemplate:version": str(template.get("Version", "")),
    }
    made["TagSpecifications"] = tagged(
        made.get("TagSpecifications", ()),
        [tags for tags in parameters.get("TagSpecifications", ()) if tags["ResourceType"] != "fleet"],
        [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in own.items()]}],
    )
    if share.market == "spot":
        made["InstanceMarketOptions"] = {"MarketType": "spot"}
    made.update(MinCount=share.count, MaxCount=share.count, ClientToken=f"{fleet}-{share.option.subnet}")
    return placed(made)


def whole(option: LaunchOverride) -> dict[str, Any]:
    """A template's data with what the override, and the call's own user-data, put in their place."""
    made = copy.deepcopy(option.data)
    made.update({name: value for name, value in option.override.items() if name in _OVERRIDDEN})
    if metadata := option.override.get("MetadataOptions"):
        made["MetadataOptions"] = {**made.get("MetadataOptions", {}), **metadata}
    if user_data := option.template.get(_USER_DATA):
        made["UserData"] = user_data
    return made


def of_template(data: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A RunInstances call with a launch template as the call without one that it amounts to."""
    made = {**copy.deepcopy(dict(data)), **parameters}
    made.pop("LaunchTemplate", None)
    if "NetworkInterfaces" in data and "NetworkInterfaces" not in parameters:
        made["NetworkInterfaces"] = copy.deepcopy(data["NetworkInterfaces"])
    made["TagSpecifications"] = tagged(data.get("TagSpecifications", ()), parameters.get("TagSpecifications", ()))
    return placed(made)


def placed(launch: dict[str, Any]) -> dict[str, Any]:
    """With its subnet on its first interface, where a launch has interfaces: EC2 takes one or the other."""
    if launch.get("NetworkInterfaces") and "SubnetId" in launch:
        launch["NetworkInterfaces"][0]["SubnetId"] = launch.pop("SubnetId")
    return launch


def tagged(*specifications: Any) -> list[dict[str, Any]]:
    """Tag specifications laid over each other, one for each kind of resource; the later wins."""
    found: dict[str, dict[str, str]] = {}
    for specification in specifications:
        for one in specification:
            found.setdefault(one["ResourceType"], {}).update({tag["Key"]: tag["Value"] for tag in one["Tags"]})
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        for kind, tags in found.items()
        if tags
    ]
