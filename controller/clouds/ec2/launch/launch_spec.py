"""The launch spec of an instance: a request's requirements as EC2's launch parameters. Pure.

Requests of one launch spec can be launched by one call. What differs (names of pods, labels) goes into tags
afterwards. The parameters are those of RunInstances. For a fleet they are cut in two: the frame, which only a launch
template can say and which is the same for nearly all pods, and what a call says itself beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.requirements import TENANCIES
from controller.clouds import userdata
from controller.clouds.ec2.ec2_settings import PREFIX, Ec2Settings
from controller.clouds.ec2.network.environment import Ec2Environment
from controller.clouds.protocol import LaunchRequest
from controller.model.offer import LaunchType, Offer

# Of EC2's types those that a root volume may have.
_VOLUMES = frozenset({"gp3", "gp2", "io1", "io2", "standard"})
# Types that EC2 makes only with a number of operations per second: what gp3 has, within what io1 allows per GB.
_PROVISIONED = frozenset({"io1", "io2"})
_IOPS, _IOPS_PER_GB = 3000, 50


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that must be equal in one launching call. Hashable. `volume_gb` and `disk_gb` as in the request; `max_price`
    is the most that spot may cost, now and later, in USD per hour; 0: the on-demand price, EC2's own limit.
    """

    offers: tuple[tuple[str, str, str], ...]
    user_data: str
    volume_gb: int
    disk_gb: int
    volume_type: str
    security_groups: tuple[str, ...]
    instance_profile: str
    public_address: bool
    tenancy: str
    capacity_reservation: str
    pod_metadata: bool
    max_price: float = 0.0


class Build(msgspec.Struct, frozen=True):
    """What of a type decides how its instances are made: a launch template is for one build."""

    architecture: str
    burstable: bool = False


def key_of(offer: Offer) -> tuple[str, str, str]:
    """An offer in three words."""
    return offer.shape.type, offer.zone, offer.launch_type.value


def spec_of(request: LaunchRequest, settings: Ec2Settings) -> LaunchSpec:
    """The launch spec of a request. Raises Fault INVALID naming the annotation that cannot be read."""
    if not request.offers:
        raise Fault(Kind.INVALID, "launch", "the request has no offers", "rank some first", reason="MissingParameter")
    said = {key.removeprefix(PREFIX): value.strip() for key, value in request.annotations.items()}
    tenancy = said.get("tenancy", "")
    if tenancy and tenancy not in TENANCIES:
        raise _unreadable("tenancy", tenancy, f"it must be one of {', '.join(sorted(TENANCIES))}")
    volume_type = said.get("volume-type", "")
    if volume_type and volume_type not in _VOLUMES:
        raise _unreadable("volume-type", volume_type, f"it must be one of {', '.join(sorted(_VOLUMES))}")
    return LaunchSpec(
        offers=tuple(key_of(offer) for offer in request.offers),
        user_data=request.user_data,
        volume_gb=request.volume_gb,
        disk_gb=request.disk_gb,
        volume_type=volume_type or settings.volume_type,
        security_groups=tuple(word.strip() for word in said.get("security-groups", "").split(",") if word.strip()),
        instance_profile=said.get("instance-profile") or settings.instance_profile,
        public_address=_yes(said, "public-address", default=settings.public_address),
        tenancy=tenancy,
        capacity_reservation=said.get("capacity-reservation", ""),
        pod_metadata=_yes(said, "metadata", default=False),
        max_price=_most(settings.max_price, said.get("max-price", "")),
    )


def plain(settings: Ec2Settings, its: LaunchSpec | None = None) -> LaunchSpec:
    """The launch spec of a pod that asks for nothing, but for what of `its` only a launch template can say."""
    return LaunchSpec(
        offers=(),
        user_data="",
        volume_gb=0,
        disk_gb=0,
        volume_type=settings.volume_type,
        security_groups=its.security_groups if its else (),
        instance_profile=settings.instance_profile,
        public_address=its.public_address if its else settings.public_address,
        tenancy=its.tenancy if its else "",
        capacity_reservation=its.capacity_reservation if its else "",
        pod_metadata=False,
    )


def launchable(its: LaunchSpec, offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """The offers that can be launched so. Raises Fault INVALID where only spot is asked for."""
    if not its.capacity_reservation and its.tenancy != "host":
        return tuple(offers)
    left = tuple(offer for offer in offers if offer.launch_type is LaunchType.ON_DEMAND)
    if not left:
        name = "capacity-reservation" if its.capacity_reservation else "tenancy"
        cause = "spot instances cannot be launched so"
        raise Fault(Kind.INVALID, f"annotation {PREFIX}{name}", cause, f'set {PREFIX}launch-type to "on-demand"')
    return left


def _yes(said: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = said.get(name, "")
    if text not in {"", "true", "false"}:
        raise _unreadable(name, text, "it must be true or false")
    return text == "true" if text else default


def _most(setting: float, asked: str) -> float:
    """The lower of two limits of which 0 and "" are none. The fleet has refused a requirement that is no number."""
    try:
        required = float(asked or 0)
    except ValueError:
        required = 0.0
    return min((each for each in (setting, required) if each > 0), default=0.0)


def price(most: float) -> str:
    """USD per hour as EC2 writes it, which knows no price of 0.001 or less."""
    return f"{max(most, 0.0011):.6f}".rstrip("0")


def _unreadable(name: str, text: str, why: str) -> Fault:
    return Fault(Kind.INVALID, f"annotation {PREFIX}{name}: {text!r}", why)


def packed_user_data(text: str) -> bytes:
    """User-data as EC2 gets it, before base64: compressed where that makes it smaller. Raises Fault INVALID."""
    plain = text.encode()
    packed = userdata.compress(text)
    shorter = min(plain, packed, key=len)
    if len(shorter) > userdata.LIMIT_BYTES:
        cause = f"it has {len(shorter)} bytes, {userdata.LIMIT_BYTES} are allowed"
        raise Fault(Kind.INVALID, "user-data", cause, "shorten it")
    return shorter


def launch_data(spec: LaunchSpec, build: Build, settings: Ec2Settings, place: Ec2Environment) -> dict[str, Any]:
    """Launch parameters but for type, subnet, market, user-data and tags of instances."""
    image = place.images[build.architecture]
    device, least = place.roots[image]
    volume: dict[str, Any] = {
        # What the pod may fill is beside what the system and its images take.
        "VolumeSize": max(spec.volume_gb, max(settings.volume_gb, least) + spec.disk_gb),
        "VolumeType": spec.volume_type,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if spec.volume_type in _PROVISIONED:
        volume["Iops"] = min(_IOPS, _IOPS_PER_GB * volume["VolumeSize"])
    if settings.volume_key:
        volume["KmsKeyId"] = settings.volume_key
    groups = dict.fromkeys((place.security_group, *settings.groups, *spec.security_groups))
    data: dict[str, Any] = {
        "ImageId": image,
        "BlockDeviceMappings": [{"DeviceName": device, "Ebs": volume}],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "Groups": list(groups),
                "AssociatePublicIpAddress": spec.public_address,
                "DeleteOnTermination": True,
                # The second address is the pod's.
                "SecondaryPrivateIpAddressCount": 1,
            }
        ],
        # A pod is one hop further from the metadata service than its agent.
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2 if spec.pod_metadata else 1,
            "HttpEndpoint": "enabled",
            # Where the account has them in metadata, EC2 refuses every tag with a slash in its key, as ours are.
            "InstanceMetadataTags": "disabled",
        },
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    # As the ranking reckons: T2 would be held to its baseline, and an account may have the same made of the others. EC2
    # refuses it for all other types, and on a host of one's own.
    if build.burstable and spec.tenancy != "host":
        data["CreditSpecification"] = {"CpuCredits": "unlimited"}
    return {**data, **_optional(spec, settings)}


# What CreateFleet takes beside a launch template, for each of its options.
_SAID_BY_FLEETS = ("BlockDeviceMappings", "IamInstanceProfile")
_METADATA_BY_FLEETS = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint")


def frame(spec: LaunchSpec, build: Build, settings: Ec2Settings, place: Ec2Environment) -> dict[str, Any]:
    """What of the launch parameters only a launch template can say; the rest as it is for most."""
    return launch_data(plain(settings, spec), build, settings, place)


def beside(spec: LaunchSpec, build: Build, settings: Ec2Settings, place: Ec2Environment) -> dict[str, Any]:
    """What a fleet's option must say beside its `frame`."""
    framed, whole = frame(spec, build, settings, place), launch_data(spec, build, settings, place)
    said = {key: whole[key] for key in _SAID_BY_FLEETS if whole.get(key) != framed.get(key)}
    if whole["MetadataOptions"] != framed["MetadataOptions"]:
        said["MetadataOptions"] = {key: whole["MetadataOptions"][key] for key in _METADATA_BY_FLEETS}
    return said


def _optional(spec: LaunchSpec, settings: Ec2Settings) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if spec.instance_profile:
        which = "Arn" if spec.instance_profile.startswith("arn:") else "Name"
        data["IamInstanceProfile"] = {which: spec.instance_profile}
    if settings.key_name:
        data["KeyName"] = settings.key_name
    if spec.tenancy:
        data["Placement"] = {"Tenancy": spec.tenancy}
    if spec.capacity_reservation:
        which = "Id" if spec.capacity_reservation.startswith("cr-") else "ResourceGroupArn"
        target = {f"CapacityReservation{which}": spec.capacity_reservation}
        data["CapacityReservationSpecification"] = {"CapacityReservationTarget": target}
    return data


def common(requests: Iterable[LaunchRequest]) -> dict[str, str]:
    """The tags that all requests have alike."""
    found: dict[str, str] | None = None
    for request in requests:
        if found is None:
            found = dict(request.tags)
        else:
            found = {key: value for key, value in found.items() if request.tags.get(key) == value}
    return found or {}
