"""Settings of the EC2 cloud: what a file says of it, and what the room adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cellwire.faults import Fault, Kind
from controller.model.setting import Group, Seconds

PREFIX = "chinampa.dev/"
# How long a call is tried again, in times of one try: so that a try which hangs leaves room for another.
PATIENCE = 1.8
TAG_CLUSTER = f"{PREFIX}cluster"
# What one launching call made: equal on all its instances.
TAG_BATCH = f"{PREFIX}batch"
# The client tokens of a batch in order, in as many numbered tags as it takes.
TAG_ROSTER = f"{PREFIX}roster-"
# Which of them an instance is; set after the launch.
TAG_TOKEN = f"{PREFIX}client-token"


_IMAGE = (
    'Cell image for {}. "auto": the newest of this account that `chinampa image publish` made, such types are not used '
    'where there is none. "none": such types are not used. "stock:debian-12", "stock:debian-13", '
    '"stock:ubuntu-24.04": the distribution\'s newest, which fetches the agent from here (`link.agent_…`).'
)
# Of the values of a setting of an image those that mean that it is to be found, and that there is to be none.
AUTO = frozenset({"", "auto"})
NONE = "none"


class Ec2Options(Group, frozen=True, kw_only=True):
    """The cloud whose instances are those of Amazon EC2."""

    region: Annotated[str, Meta(description='As in "eu-central-1".')] = ""
    subnets: Annotated[
        tuple[str, ...], Meta(description="Subnets of one VPC in which instances are; their zones are the zones sold.")
    ] = ()
    image_amd64: Annotated[str, Meta(description=_IMAGE.format("x86"))] = "auto"
    image_arm64: Annotated[str, Meta(description=_IMAGE.format("arm"))] = "auto"
    certificates: Annotated[
        Path | None,
        Meta(
            description="Folder of PEM files: the region's RSA certificates for identity documents, from the EC2 user "
            'guide ("AWS public certificates for instance identity document signatures").'
        ),
    ] = None
    security_groups: Annotated[
        tuple[str, ...], Meta(description="Groups of every instance, beside the cluster's own.")
    ] = ()
    cluster_security_group: Annotated[
        str,
        Meta(
            description="Group of the Kubernetes cluster, whose members reach pods; of EKS the cluster security group. "
            "Empty: only other cells do."
        ),
    ] = ""
    kubernetes_cluster: Annotated[
        str,
        Meta(
            description="Name of the Kubernetes cluster. Load balancers then find pods' interfaces: of their groups "
            "exactly one bears the tag `kubernetes.io/cluster/NAME`, the cluster's own group where no other does. "
            "Empty: nothing is looked at."
        ),
    ] = ""
    instance_profile: Annotated[str, Meta(description="Name or ARN, where a pod names none. Empty: none.")] = ""
    key_name: Annotated[str, Meta(description="Key pair for SSH. Empty: none.")] = ""
    volume_gb: Annotated[
        int,
        Meta(
            ge=1,
            description="Root volume; what a pod asks for as ephemeral storage comes on top.",
            extra={"unit": "GB"},
        ),
    ] = 10
    volume_type: Annotated[str, Meta(description="Type of root volumes.")] = "gp3"
    volume_key: Annotated[str, Meta(description="KMS key of root volumes. Empty: the account's default.")] = ""
    public_address: Annotated[bool, Meta(description="Public addresses, where a pod does not say.")] = False
    fleets: Annotated[bool, Meta(description="Launch by CreateFleet; else by RunInstances.")] = True
    spot: Annotated[bool, Meta(description="Whether pods that ask for spot get it.")] = True
    max_price: Annotated[
        float, Meta(ge=0, description="Dearer instances are not used; 0: no limit.", extra={"unit": "USD per hour"})
    ] = 0.0
    tags: Annotated[tuple[str, ...], Meta(description='More tags for all that is made: "team=blue".')] = ()
    queue_url: Annotated[
        str, Meta(description="SQS queue to which EventBridge sends what happens to instances. Empty: none is read.")
    ] = ""
    call_seconds: Annotated[
        Seconds,
        Meta(description="How long one try of a call to AWS may take; calls are tried for about twice as long in all."),
    ] = 30.0
    api_limits: Annotated[
        tuple[str, ...],
        Meta(
            description="Limits of EC2's API that AWS has raised for this account, burst and refill per second: "
            '"RunInstances=100/20" of calls, "RunInstances resources=5000/10" of the instances that they launch (those '
            "of CreateFleet are the same). Others are as documented; a higher one that is not named is found by and by."
        ),
    ] = ()
    key_profile: Annotated[
        str, Meta(description="Profile of the shared AWS configuration. Empty: the SDK's usual search.")
    ] = ""
    account: Annotated[str, Meta(description="Account of the instances. Empty: that of the credentials.")] = ""
    endpoint_url: Annotated[str, Meta(description="Address of all AWS services, for tests. Empty: AWS's own.")] = ""


class Ec2Settings(Ec2Options, frozen=True, kw_only=True):
    """Settings of the EC2 cloud, with what no file says: whose instances they are, and how patiently EC2 is asked."""

    cluster: str = "default"
    """Value of the tag that marks all that is ours. Two controllers of one account and region must differ in it."""
    root_device: str = ""
    """Name of the root device. Empty: asked of the images."""
    patience_seconds: float = 55.0
    """How long a call is tried again, waiting for its turn included."""
    idle_seconds: float = 0.035
    """A batch is sent when nothing more was asked for so long,"""
    window_seconds: float = 1.0
    """or after this,"""
    most_batched: int = 250
    """or when it has so many. EC2 takes 1000, but then one lost answer is a thousand pods that wait."""
    leftovers_seconds: float = 60.0
    """How often volumes, interfaces, templates and groups that nobody uses are looked for."""
    prices_after_seconds: float = 60.0
    """How long after the start types and prices are first asked for: some thirty calls, which launches need first."""
    images_seconds: float = 300.0
    """How often machine images that are newer than those in use are looked for."""
    template_seconds: float = 900.0
    """How long an unused launch template is kept."""

    @property
    def own_tags(self) -> dict[str, str]:
        """Tags of everything that is made."""
        more = (tag.partition("=") for tag in self.tags)
        return {**{key: value for key, _, value in more}, TAG_CLUSTER: self.cluster}

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of every instance beside the cluster's own."""
        return tuple(dict.fromkeys(each for each in (*self.security_groups, self.cluster_security_group) if each))

    @property
    def images(self) -> dict[str, str]:
        """Architecture ("amd64", "arm64") to machine image. Types of other architectures are not sold."""
        named = {"amd64": self.image_amd64, "arm64": self.image_arm64}
        return {architecture: image for architecture, image in named.items() if image}

    @classmethod
    def of(cls, chosen: Ec2Options, cluster: str) -> Ec2Settings:
        """What a file says, completed. Raises Fault INVALID where it names no region."""
        if not chosen.region:
            raise Fault(Kind.INVALID, "cloud.ec2.region", "it is not set", 'name one, as "eu-central-1"')
        return cls(**msgspec.structs.asdict(chosen), cluster=cluster, patience_seconds=chosen.call_seconds * PATIENCE)
