"""EC2's error codes as faults: what a caller can do about them. Pure.

Sources: the EC2 API reference, "Error codes for the Amazon EC2 API"; the set of capacity codes is the one that
Karpenter found to mean "try another offer".
"""

from __future__ import annotations

import re

from cellwire.faults import Fault, Kind

# The offer cannot be had now; another one may.
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientVolumeCapacity",
        "InsufficientAddressCapacity",
        "VolumeTypeNotAvailableInZone",
        "InsufficientFreeAddressesInSubnet",
        "MaxSpotInstanceCountExceeded",
        "MaxFleetCountExceeded",
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "UnfulfillableCapacity",
        "Unsupported",
        "UnsupportedOperation",
        "ReservationCapacityExceeded",
        "SpotMaxPriceTooLow",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    }
)
# What no other offer of the same market changes: the account's role for spot capacity is missing and may not be made,
# or it may have no more volumes.
WHOLE_MARKET = frozenset(
    {"AuthFailure.ServiceLinkedRoleCreationNotPermitted", "VolumeLimitExceeded", "MaxIOPSLimitExceeded"}
)
# What cannot be launched by a fleet may be by RunInstances: the account has too many fleets, or launch templates.
NO_FLEETS = frozenset(
    {
        "MaxFleetCountExceeded",
        "MaxTemplateLimitExceeded",
        "LaunchTemplateLimitExceeded",
        "ResourceLimitExceeded",
    }
)
# The call was turned away unread: the same again, later.
THROTTLES = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "SlowDown",
    }
)
# It may or may not have been carried out.
UNCERTAIN = frozenset({"InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", "RequestTimeout"})
DENIED = frozenset(
    {
        "UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "Blocked",
        "OptInRequired",
        "PendingVerification",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
    }
)
_EXISTS = re.compile(r"(AlreadyExists|Duplicate)")
_NOT_FOUND = re.compile(r"(\.NotFound|NotFoundException|NotFound)$")
_IDS = re.compile(r"\bi-[0-9a-f]{8,17}\b")
_MENDS = {
    "ExpiredToken": "renew the credentials",
    "ExpiredTokenException": "renew the credentials",
    "RequestExpired": "set this machine's clock",
    "InvalidClientTokenId": "check the credentials",
    "SignatureDoesNotMatch": "check the credentials and this machine's clock",
    "OptInRequired": "subscribe to the service in the AWS console",
    "VcpuLimitExceeded": "ask AWS for a higher vCPU limit of this family",
    "MaxSpotInstanceCountExceeded": "ask AWS for a higher spot limit",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "have an administrator run "
    '"aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"',
    "InsufficientFreeAddressesInSubnet": "add a larger subnet",
    "InvalidGroup.NotFound": "check cloud.ec2.security_groups and the annotation chinampa.dev/security-groups",
    "InvalidAMIID.NotFound": "name a machine image that is there (cloud.ec2.image_amd64, cloud.ec2.image_arm64)",
    "InvalidSubnetID.NotFound": "check cloud.ec2.subnets",
    "QueueDoesNotExist": "check cloud.ec2.queue_url",
    "InvalidKeyPair.NotFound": "check cloud.ec2.key_name",
    "ReservationCapacityExceeded": "name the reservation's type and zone in the pod's annotations "
    "(instance-type, zone), or enlarge it",
}


def kind_of(code: str) -> Kind:
    """What a caller can do about a code. Codes that nobody knows are the request's fault: repeating does not help."""
    if code in THROTTLES or code in UNCERTAIN:
        return Kind.UNAVAILABLE
    if code in CAPACITY or _limit(code):
        return Kind.NO_CAPACITY
    if code in DENIED:
        return Kind.DENIED
    if code in {"IdempotentParameterMismatch", "IdempotentInstanceTerminated"}:
        return Kind.PRECONDITION
    if _EXISTS.search(code):
        return Kind.EXISTS
    if _NOT_FOUND.search(code):
        return Kind.NOT_FOUND
    return Kind.INVALID


def mend_of(code: str) -> str:
    """What a person can do about a code; empty where that is nothing in particular."""
    return _MENDS.get(code, "ask AWS for a higher limit" if _limit(code) else "")


def _limit(code: str) -> bool:
    """Whether it tells of a limit of the account's (volumes, IOPS, …), which is free again when something ends."""
    return code.endswith("LimitExceeded") and code not in THROTTLES and code != "TagLimitExceeded"


def fault_of(service: str, action: str, code: str, message: str) -> Fault:
    """The fault of an answer with this code; its `reason` is the code."""
    kind = kind_of(code)
    mend = mend_of(code)
    if kind is Kind.DENIED and not mend:
        mend = f"allow {service}:{action} for the controller's role (docs/iam.md)"
    return Fault(kind, f"{service} {action}", f"{code}: {message}" if message else code, mend, reason=code)


def unanswered(service: str, action: str, cause: str) -> Fault:
    """No answer came; whether the call was carried out is not known."""
    mend = "it is asked again; check the network, the region and the endpoint"
    return Fault(Kind.UNAVAILABLE, f"{service} {action}", cause, mend, reason="NoAnswer")


def uncertain(fault: Fault) -> bool:
    """Whether the call may have been carried out all the same."""
    return fault.reason == "NoAnswer" or fault.reason in UNCERTAIN


def ids_named(message: str) -> frozenset[str]:
    """The instance ids in an error's message."""
    return frozenset(_IDS.findall(message))
