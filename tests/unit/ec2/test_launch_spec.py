"""What an instance looks like, by settings and by annotations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cellwire.faults import Fault
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.instances import instance_list
from controller.clouds.ec2.launch import launch_spec
from controller.clouds.ec2.launch.launch_spec import Build
from controller.clouds.ec2.network.environment import Ec2Environment
from controller.clouds.ec2.tags import digest
from controller.clouds.protocol import LaunchRequest
from controller.model.instance import InstanceState
from controller.model.offer import LaunchType, Offer, Shape

SETTINGS = Ec2Settings(region="r", subnets=("subnet-1",), image_amd64="ami-1", security_groups=("sg-extra",))
PLACE = Ec2Environment(
    account="1",
    vpc="v",
    zones={"subnet-1": "a"},
    security_group="sg-own",
    images={"amd64": "ami-1", "arm64": "ami-1"},
    roots={"ami-1": ("/dev/sda1", 30)},
)
SHAPE = Shape(type="m1", architecture="amd64", cpu_millis=1, memory_mib=1, baseline_millis=1)
OFFER = Offer(shape=SHAPE, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=1.0)


def request(tags: dict[str, str] | None = None, **annotations: str) -> LaunchRequest:
    said = {f"chinampa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return LaunchRequest(client_token="t", offers=(OFFER,), user_data="#!/bin/sh\n", tags=tags or {}, annotations=said)


def data(**annotations: str) -> dict[str, Any]:
    return launch_spec.launch_data(
        launch_spec.spec_of(request({}, **annotations), SETTINGS), Build("amd64"), SETTINGS, PLACE
    )


def burstable(**annotations: str) -> dict[str, Any]:
    its = launch_spec.spec_of(request({}, **annotations), SETTINGS)
    return launch_spec.launch_data(its, Build("amd64", burstable=True), SETTINGS, PLACE)


def test_without_annotations_an_instance_is_private_encrypted_and_shut_off_from_metadata() -> None:
    made = data()
    (interface,) = made["NetworkInterfaces"]
    assert interface["Groups"] == ["sg-own", "sg-extra"]
    assert interface["AssociatePublicIpAddress"] is False
    assert interface["SecondaryPrivateIpAddressCount"] == 1
    assert made["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
        "InstanceMetadataTags": "disabled",
    }
    (mapping,) = made["BlockDeviceMappings"]
    assert mapping["DeviceName"] == "/dev/sda1"
    # Not smaller than the image.
    assert (mapping["Ebs"]["VolumeSize"], mapping["Ebs"]["Encrypted"]) == (30, True)
    assert not {"IamInstanceProfile", "Placement", "KeyName", "CapacityReservationSpecification"} & made.keys()


def test_annotations_change_what_they_name() -> None:
    made = data(
        security_groups="sg-a, sg-b",
        public_address="true",
        metadata="true",
        tenancy="dedicated",
        capacity_reservation="cr-1",
        instance_profile="arn:aws:iam::1:instance-profile/x",
        volume_type="io2",
    )
    assert made["NetworkInterfaces"][0]["Groups"] == ["sg-own", "sg-extra", "sg-a", "sg-b"]
    assert made["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is True
    assert made["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert made["Placement"] == {"Tenancy": "dedicated"}
    assert made["CapacityReservationSpecification"]["CapacityReservationTarget"] == {"CapacityReservationId": "cr-1"}
    assert made["IamInstanceProfile"] == {"Arn": "arn:aws:iam::1:instance-profile/x"}
    volume = made["BlockDeviceMappings"][0]["Ebs"]
    assert (volume["VolumeType"], volume["Iops"]) == ("io2", 1500), "EC2 makes no io2 without"


def test_burstable_types_may_use_more_than_their_baseline_and_no_others_are_told_so() -> None:
    assert burstable()["CreditSpecification"] == {"CpuCredits": "unlimited"}
    assert "CreditSpecification" not in data()
    assert "CreditSpecification" not in burstable(tenancy="host"), "EC2 refuses it there"


def test_what_a_pod_may_fill_is_beside_what_the_image_takes() -> None:
    def size(**more: int) -> int:
        asked = msgspec.structs.replace(request(), **more)
        made = launch_spec.launch_data(launch_spec.spec_of(asked, SETTINGS), Build("amd64"), SETTINGS, PLACE)
        return made["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]

    assert size(disk_gb=40) == 30 + 40, "the image has 30"
    assert (size(volume_gb=20), size(volume_gb=50)) == (30, 50)
    assert (size(disk_gb=40, volume_gb=50), size(disk_gb=40, volume_gb=100)) == (70, 100)


def test_a_reservation_and_a_host_of_ones_own_are_never_taken_as_spot() -> None:
    spot = msgspec.structs.replace(OFFER, launch_type=LaunchType.SPOT)
    for name, value in (("capacity_reservation", "cr-1"), ("tenancy", "host")):
        its = launch_spec.spec_of(request({}, **{name: value}), SETTINGS)
        assert launch_spec.launchable(its, [spot, OFFER]) == (OFFER,)
        with pytest.raises(Fault, match="launch-type"):
            launch_spec.launchable(its, [spot])
    assert launch_spec.launchable(launch_spec.spec_of(request(tenancy="dedicated"), SETTINGS), [spot]) == (spot,)


@pytest.mark.parametrize(
    ("name", "value"),
    [("tenancy", "mine"), ("volume_type", "sc1"), ("public_address", "yes"), ("metadata", "1")],
)
def test_an_annotation_that_cannot_be_read_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Fault, match=f"chinampa.dev/{name.replace('_', '-')}"):
        data(**{name: value})


def test_user_data_that_is_too_long_even_packed_is_refused() -> None:
    noise = "".join(chr(33 + (number * number * 7919) % 94) for number in range(40_000))
    with pytest.raises(Fault, match="user-data"):
        launch_spec.packed_user_data("#!/bin/sh\n" + digest(noise) + "".join(digest(n) for n in range(2000)))


def test_common_tags_are_those_with_one_value_everywhere() -> None:
    both = [request({"app": "web", "pod": "a"}), request({"app": "web", "pod": "b", "x": "y"})]
    assert launch_spec.common(both) == {"app": "web"}


def test_an_instance_is_read_with_its_two_addresses_and_why_it_ended() -> None:
    described = {
        "InstanceId": "i-1",
        "State": {"Name": "shutting-down"},
        "StateReason": {"Code": "Server.SpotInstanceTermination", "Message": "Spot instance termination"},
        "InstanceType": "m1",
        "InstanceLifecycle": "spot",
        "Placement": {"AvailabilityZone": "a"},
        "PrivateIpAddress": "10.0.0.4",
        "NetworkInterfaces": [
            {
                "Attachment": {"DeviceIndex": 0},
                "PrivateIpAddresses": [
                    {"Primary": True, "PrivateIpAddress": "10.0.0.4"},
                    {"Primary": False, "PrivateIpAddress": "10.0.0.5"},
                ],
            }
        ],
        "Tags": [{"Key": "app", "Value": "web"}],
    }
    instance = instance_list.instance_of(described, "t")
    assert (instance.address, instance.pod_address) == ("10.0.0.4", "10.0.0.5")
    assert (instance.state, instance.launch_type) == (InstanceState.STOPPING, LaunchType.SPOT)
    assert instance.state_reason == "Spot instance termination"


def test_an_instance_of_which_hardly_anything_is_told_is_still_read() -> None:
    instance = instance_list.instance_of({"InstanceId": "i-1"}, "")
    assert (instance.id, instance.state, instance.address) == ("i-1", InstanceState.PENDING, "")


def test_a_limit_of_the_settings_and_one_of_the_pod_bind_spot_by_the_lower() -> None:
    most = msgspec.structs.replace(SETTINGS, max_price=0.5)
    assert launch_spec.spec_of(request({}, max_price="0.2"), most).max_price == 0.2
    assert launch_spec.spec_of(request({}, max_price="0.9"), most).max_price == 0.5
    assert launch_spec.spec_of(request(), SETTINGS).max_price == 0.0
    assert launch_spec.price(0.25) == "0.25"
    assert float(launch_spec.price(0.0001)) > 0.001, "EC2 refuses what is no more"


def test_pods_that_differ_in_disk_profile_and_metadata_need_no_template_of_their_own() -> None:
    plain, odd = (
        launch_spec.spec_of(each, SETTINGS) for each in (request(), request({}, metadata="true", volume_type="gp2"))
    )
    build = Build("amd64")
    assert launch_spec.frame(plain, build, SETTINGS, PLACE) == launch_spec.frame(odd, build, SETTINGS, PLACE)
    assert launch_spec.beside(plain, build, SETTINGS, PLACE) == {}
    said = launch_spec.beside(odd, build, SETTINGS, PLACE)
    assert said["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert said["BlockDeviceMappings"][0]["Ebs"]["VolumeType"] == "gp2"


def test_pods_of_other_groups_or_tenancy_have_a_template_of_their_own() -> None:
    build = Build("amd64")
    frames = [
        digest(launch_spec.frame(launch_spec.spec_of(each, SETTINGS), build, SETTINGS, PLACE))
        for each in (
            request(),
            request({}, security_groups="sg-a"),
            request({}, tenancy="dedicated"),
            request({}, public_address="true"),
            request({}, capacity_reservation="cr-1"),
        )
    ]
    assert len(set(frames)) == len(frames)
