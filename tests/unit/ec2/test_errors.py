"""EC2's codes as what a caller can do about them."""

from __future__ import annotations

import pytest

from cellwire.faults import Kind
from controller.clouds.ec2 import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InsufficientInstanceCapacity", Kind.NO_CAPACITY),
        ("MaxSpotInstanceCountExceeded", Kind.NO_CAPACITY),
        ("VcpuLimitExceeded", Kind.NO_CAPACITY),
        ("UnfulfillableCapacity", Kind.NO_CAPACITY),
        ("Unsupported", Kind.NO_CAPACITY),
        ("InsufficientFreeAddressesInSubnet", Kind.NO_CAPACITY),
        ("MaxFleetCountExceeded", Kind.NO_CAPACITY),
        ("ReservationCapacityExceeded", Kind.NO_CAPACITY),
        ("InstanceLimitExceeded", Kind.NO_CAPACITY),
        ("VolumeLimitExceeded", Kind.NO_CAPACITY),
        ("TagLimitExceeded", Kind.INVALID),
        ("RequestLimitExceeded", Kind.UNAVAILABLE),
        ("InternalError", Kind.UNAVAILABLE),
        ("UnauthorizedOperation", Kind.DENIED),
        ("InvalidInstanceID.NotFound", Kind.NOT_FOUND),
        ("InvalidLaunchTemplateName.AlreadyExistsException", Kind.EXISTS),
        ("InvalidGroup.Duplicate", Kind.EXISTS),
        ("InvalidParameterValue", Kind.INVALID),
    ],
)
def test_a_code_says_what_can_be_done(code: str, kind: Kind) -> None:
    assert errors.kind_of(code) is kind


def test_a_missing_right_is_named_with_its_action() -> None:
    fault = errors.fault_of("ec2", "CreateFleet", "UnauthorizedOperation", "You are not authorized.")
    assert "ec2:CreateFleet" in str(fault)
    assert fault.reason == "UnauthorizedOperation"


def test_only_an_answer_can_make_an_outcome_certain() -> None:
    assert errors.uncertain(errors.unanswered("ec2", "RunInstances", "reset"))
    assert errors.uncertain(errors.fault_of("ec2", "RunInstances", "InternalError", ""))
    assert not errors.uncertain(errors.fault_of("ec2", "RunInstances", "RequestLimitExceeded", ""))
    assert not errors.uncertain(errors.fault_of("ec2", "RunInstances", "InsufficientInstanceCapacity", ""))


def test_ids_are_found_in_the_message_that_names_them() -> None:
    message = "The instance IDs 'i-0123456789abcdef0, i-1a2b3c4d' do not exist"
    assert errors.ids_named(message) == {"i-0123456789abcdef0", "i-1a2b3c4d"}
