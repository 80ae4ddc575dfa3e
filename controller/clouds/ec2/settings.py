"""Settings of the EC2 cloud, as the room wants them; how they stand in a file is controller/config.py's business."""

from __future__ import annotations

from pathlib import Path

import msgspec

PREFIX = "chinampa.dev/"


class Ec2Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where instances are launched, what they look like, and how patiently EC2 is asked."""

    cluster: str = "default"
    """Value of the tag that marks all that is ours. Two controllers of one account and region must differ in it."""
    region: str
    endpoint_url: str = ""
    """For tests and private endpoints: base address of every service. Empty: AWS's own."""
    key_profile: str = ""
    """Profile of the shared AWS configuration from which credentials are taken. Empty: the SDK's usual search."""
    account: str = ""
    """Account whose instances may join. Empty: that of the credentials, asked of STS at the start."""

    subnets: tuple[str, ...]
    """Subnets, all of one VPC. Their zones are the zones that are sold."""
    security_groups: tuple[str, ...] = ()
    """Groups that each instance has beside the cluster's own."""
    images: dict[str, str]
    """Architecture ("amd64", "arm64") to machine image. Types of other architectures are not sold."""
    instance_profile: str = ""
    """Name or ARN of the instance profile of instances whose pod names none. Empty: none."""
    key_name: str = ""
    """Key pair for SSH, for those who debug images. Empty: none."""
    root_device: str = ""
    """Name of the root device. Empty: asked of the images."""
    volume_gb: int = 10
    """Root volume, where a pod wishes for no larger one; the disk that it asks for comes on top."""
    volume_type: str = "gp3"
    volume_key: str = ""
    """KMS key of root volumes. Empty: the account's default key."""
    public_address: bool = False
    """Whether instances get a public address, where a pod does not say."""

    fleet_allowed: bool = True
    """Launch by CreateFleet; else, or where the account denies it, by RunInstances."""
    spot: bool = True
    """Whether spot capacity is sold to pods that ask for it."""
    max_price: float = 0.0
    """USD per hour above which nothing is sold; 0: no limit."""
    tags: dict[str, str] = {}
    """More tags for everything that is made."""
    certificates: Path | None = None
    """Folder of PEM files: AWS's RSA certificates of this region, against which identity documents are checked.
    AWS lists them in the EC2 user guide, "AWS public certificates for instance identity document signatures"."""
    queue_url: str = ""
    """SQS queue to which EventBridge sends what happens to instances. Empty: nothing is heard, only polled."""

    call_seconds: float = 30.0
    """How long one try of a call may take."""
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
    template_seconds: float = 900.0
    """How long an unused launch template is kept."""

    @property
    def cluster_tag(self) -> tuple[str, str]:
        """Key and value of the tag on all that is ours."""
        return TAG_CLUSTER, self.cluster

    @property
    def own_tags(self) -> dict[str, str]:
        """Tags of everything that is made."""
        return {**self.tags, TAG_CLUSTER: self.cluster}


TAG_CLUSTER = f"{PREFIX}cluster"
# What one launching call made: equal on all its instances.
TAG_BATCH = f"{PREFIX}batch"
# The client tokens of a batch in order, in as many numbered tags as it takes.
TAG_ROSTER = f"{PREFIX}roster-"
# Which of them an instance is; set after the launch.
TAG_TOKEN = f"{PREFIX}client-token"
